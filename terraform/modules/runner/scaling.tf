# How many runners there are: as many as keep sessions per runner and the wait for a run at their targets. Both figures come from the
# runners themselves.

resource "aws_autoscaling_policy" "sessions" {
  name                   = "${var.name}-runner-sessions"
  autoscaling_group_name = aws_autoscaling_group.this.name
  policy_type            = "TargetTrackingScaling"

  target_tracking_configuration {
    target_value = var.sessions_per_runner

    customized_metric_specification {
      namespace   = var.metrics.namespace
      metric_name = var.metrics.sessions
      statistic   = "Average"

      metric_dimension {
        name  = var.metrics.dimension
        value = var.name
      }
    }
  }
}

# This one only adds: a fleet that waits for nothing may still be full of sessions.
resource "aws_autoscaling_policy" "queue" {
  name                   = "${var.name}-runner-queue"
  autoscaling_group_name = aws_autoscaling_group.this.name
  policy_type            = "TargetTrackingScaling"

  target_tracking_configuration {
    target_value     = var.queue_wait
    disable_scale_in = true

    customized_metric_specification {
      namespace   = var.metrics.namespace
      metric_name = var.metrics.queue_wait
      statistic   = "Average"

      metric_dimension {
        name  = var.metrics.dimension
        value = var.name
      }
    }
  }
}
