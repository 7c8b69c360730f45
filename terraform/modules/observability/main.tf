# What shows how the cluster is: log groups, alarms and a dashboard in CloudWatch, and (collector.tf) a machine with the OpenTelemetry
# Collector and Jaeger, unless traces go elsewhere.

resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_338:How long to keep logs, and pay for them, is the user's choice (log_days)
  #checkov:skip=CKV_AWS_158:CloudWatch encrypts with a key of its own; another one is the user's choice (kms_key_arn)

  for_each = var.log_group_names

  name              = each.value
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

locals {
  balancer = { LoadBalancer = var.balancer_dimension, TargetGroup = var.target_group_dimension }

  # Thresholds are those that docs/aws.md explains. `missing` is what no data means: "breaching" where silence is a bad sign.
  alarms = {
    no-gateway = {
      why       = "No gateway answers the load balancer: nobody can come in. Look at the gateways' log group."
      namespace = "AWS/ApplicationELB", metric = "HealthyHostCount", statistic = "Minimum", dimensions = local.balancer
      operator  = "LessThanThreshold", threshold = 1, period = 60, times = 2, missing = "breaching"
    }
    errors = {
      why       = "Gateways answer with 5xx. The dashboard shows whether runners are there; their log says what fails."
      namespace = "AWS/ApplicationELB", metric = "HTTPCode_Target_5XX_Count", statistic = "Sum", dimensions = local.balancer
      operator  = "GreaterThanThreshold", threshold = var.errors_per_minute, period = 60, times = 3, missing = "notBreaching"
    }
    no-runner = {
      why       = "No runner tells its load: none is ready, or they can't reach CloudWatch. Look at the runners' log group and at the group's activity."
      namespace = var.metrics.namespace, metric = var.metrics.sessions, statistic = "SampleCount", dimensions = { (var.metrics.dimension) = var.name }
      operator  = "LessThanThreshold", threshold = 1, period = 300, times = 2, missing = "breaching"
    }
    queue = {
      why       = "Runs wait for their worker: users feel it. Is the group at its greatest size?"
      namespace = var.metrics.namespace, metric = var.metrics.queue_wait, statistic = "Average", dimensions = { (var.metrics.dimension) = var.name }
      operator  = "GreaterThanThreshold", threshold = var.queue_wait_alarm, period = 60, times = 5, missing = "notBreaching"
    }
    redis-memory = {
      why       = "Redis is nearly full. Full, it refuses writes, and sessions are no longer protected: give it larger nodes, or lower cache_size."
      namespace = "AWS/ElastiCache", metric = "DatabaseMemoryUsagePercentage", statistic = "Maximum", dimensions = { ReplicationGroupId = var.redis_id }
      operator  = "GreaterThanThreshold", threshold = 75, period = 300, times = 2, missing = "missing"
    }
    redis-cpu = {
      why       = "Redis' one thread is nearly busy all the time: give it larger nodes."
      namespace = "AWS/ElastiCache", metric = "EngineCPUUtilization", statistic = "Maximum", dimensions = { ReplicationGroupId = var.redis_id }
      operator  = "GreaterThanThreshold", threshold = 80, period = 300, times = 3, missing = "missing"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.why
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  statistic           = each.value.statistic
  dimensions          = each.value.dimensions
  comparison_operator = each.value.operator
  threshold           = each.value.threshold
  period              = each.value.period
  evaluation_periods  = each.value.times
  treat_missing_data  = each.value.missing
  alarm_actions       = var.alarm_topics
  ok_actions          = var.alarm_topics
}

locals {
  # Title, and lines as [namespace, metric, dimension, value, …, options].
  panels = [
    ["Gateways that answer", [["AWS/ApplicationELB", "HealthyHostCount", "LoadBalancer", var.balancer_dimension, "TargetGroup", var.target_group_dimension, { stat = "Minimum" }]]],
    ["Runners in service", [["AWS/AutoScaling", "GroupInServiceInstances", "AutoScalingGroupName", "${var.name}-runner", { stat = "Average" }]]],
    ["Sessions per runner", [[var.metrics.namespace, var.metrics.sessions, var.metrics.dimension, var.name, { stat = "Average" }], ["...", { stat = "Maximum" }]]],
    ["Wait for a worker (ms)", [[var.metrics.namespace, var.metrics.queue_wait, var.metrics.dimension, var.name, { stat = "Average" }], ["...", { stat = "Maximum" }]]],
    ["Browsers connected", [["AWS/ApplicationELB", "ActiveConnectionCount", "LoadBalancer", var.balancer_dimension, { stat = "Sum" }]]],
    ["Errors (5xx)", [["AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", "LoadBalancer", var.balancer_dimension, { stat = "Sum" }], ["AWS/ApplicationELB", "HTTPCode_ELB_5XX_Count", "LoadBalancer", var.balancer_dimension, { stat = "Sum" }]]],
    ["CPU (%)", [for role in ["gateway", "runner"] : ["AWS/EC2", "CPUUtilization", "AutoScalingGroupName", "${var.name}-${role}", { stat = "Average", label = role }]]],
    ["Redis: memory, CPU (%)", [["AWS/ElastiCache", "DatabaseMemoryUsagePercentage", "ReplicationGroupId", var.redis_id, { stat = "Maximum" }], ["AWS/ElastiCache", "EngineCPUUtilization", "ReplicationGroupId", var.redis_id, { stat = "Maximum" }]]],
  ]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name
  dashboard_body = jsonencode({
    widgets = [for index, panel in local.panels : {
      type   = "metric"
      x      = index % 2 * 12
      y      = floor(index / 2) * 6
      width  = 12
      height = 6
      properties = {
        title   = panel[0]
        metrics = panel[1]
        region  = var.region
        view    = "timeSeries"
        period  = 60
        yAxis   = { left = { min = 0 } }
      }
    }]
  })
}
