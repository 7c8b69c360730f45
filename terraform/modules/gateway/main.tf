# Gateways: machines without state of their own behind the load balancer. Any of them serves any session, so nothing is sticky.

resource "aws_launch_template" "this" {
  #checkov:skip=CKV_AWS_88:Only where the user has machines in public subnets; security groups let nothing in by that address

  name                   = "${var.name}-gateway"
  description            = "Gateways of the Streamfleet cluster ${var.name}"
  image_id               = var.image_id
  instance_type          = var.instance_type
  user_data              = var.user_data
  update_default_version = true
  ebs_optimized          = true

  iam_instance_profile {
    name = var.instance_profile
  }

  network_interfaces {
    security_groups             = [var.security_group_id]
    associate_public_ip_address = var.public_addresses
    delete_on_termination       = true
  }

  # IMDSv2 only, and not through a container or proxy on the machine.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = var.root_device

    ebs {
      volume_type           = "gp3"
      volume_size           = var.disk_gib
      encrypted             = true
      kms_key_id            = var.kms_key_arn
      delete_on_termination = true
    }
  }

  monitoring {
    enabled = var.detailed_monitoring
  }

  tag_specifications {
    resource_type = "volume"
    tags          = { Name = "${var.name}-gateway" }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_autoscaling_group" "this" {
  name                = "${var.name}-gateway"
  min_size            = var.size.min
  max_size            = var.size.max
  vpc_zone_identifier = var.subnet_ids
  target_group_arns   = [aws_lb_target_group.this.arn]

  # Not "ELB": through the public port a gateway without any runner, or without Redis, looks ill as well, and replacing it would
  # help nobody. A process that hangs is systemd's to restart.
  health_check_type         = "EC2"
  health_check_grace_period = var.launch_timeout
  default_instance_warmup   = 60

  # Terraform is not to wait for machines: the secrets and the first runner may come later.
  wait_for_capacity_timeout = "0"

  launch_template {
    id      = aws_launch_template.this.id
    version = aws_launch_template.this.latest_version
  }

  # A new one first, then the old one goes: one at a time, as long as the group is smaller than ten.
  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage       = 100
      max_healthy_percentage       = 110
      instance_warmup              = 60
      skip_matching                = true
      auto_rollback                = true
      scale_in_protected_instances = "Refresh"
      standby_instances            = "Terminate"
    }
  }

  dynamic "tag" {
    for_each = merge(var.tags, { Name = "${var.name}-gateway", streamfleet-role = "gateway", streamfleet-cluster = var.name })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    create_before_destroy = true
    # It is the scaling policy's.
    ignore_changes = [desired_capacity]
  }
}

# A gateway that doesn't come up within the time is given up, which also stops a refresh and takes it back.
resource "aws_autoscaling_lifecycle_hook" "launching" {
  name                   = "streamfleet-launching"
  autoscaling_group_name = aws_autoscaling_group.this.name
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_LAUNCHING"
  default_result         = "ABANDON"
  heartbeat_timeout      = var.launch_timeout
}

# The gateway has left the load balancer by then. What is left for this hook is to wait until its process has ended.
resource "aws_autoscaling_lifecycle_hook" "terminating" {
  name                   = "streamfleet-terminating"
  autoscaling_group_name = aws_autoscaling_group.this.name
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_TERMINATING"
  default_result         = "CONTINUE"
  heartbeat_timeout      = var.terminate_timeout
}

resource "aws_autoscaling_policy" "cpu" {
  name                   = "${var.name}-gateway-cpu"
  autoscaling_group_name = aws_autoscaling_group.this.name
  policy_type            = "TargetTrackingScaling"

  target_tracking_configuration {
    target_value = var.cpu_target

    predefined_metric_specification {
      predefined_metric_type = "ASGAverageCPUUtilization"
    }
  }
}
