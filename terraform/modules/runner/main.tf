# Runners: the machines that run the app. A new revision is a new launch template, which has the group replace its machines one at a
# time; each old one hands its sessions over before it goes, held by the life-cycle hook until it has.

resource "aws_launch_template" "this" {
  #checkov:skip=CKV_AWS_88:Only where the user has machines in public subnets; security groups let nothing in by that address

  name                   = "${var.name}-runner"
  description            = "Runners of the Streamfleet cluster ${var.name}"
  image_id               = var.image_id
  instance_type          = var.instance_types[0]
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

  # IMDSv2 only, and not through a container or proxy on the machine: what runs here is the users' own code.
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
    tags          = { Name = "${var.name}-runner" }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_autoscaling_group" "this" {
  name                = "${var.name}-runner"
  min_size            = var.size.min
  max_size            = var.size.max
  vpc_zone_identifier = var.subnet_ids

  health_check_type         = "EC2"
  health_check_grace_period = var.launch_timeout
  default_instance_warmup   = var.warmup
  termination_policies      = ["OldestLaunchTemplate", "Default"]
  capacity_rebalance        = var.spot_percent > 0
  enabled_metrics           = ["GroupDesiredCapacity", "GroupInServiceInstances", "GroupTerminatingInstances"]

  # Terraform is not to wait: how a roll goes is seen with `aws autoscaling describe-instance-refreshes`.
  wait_for_capacity_timeout = "0"

  dynamic "launch_template" {
    for_each = var.spot_percent > 0 ? [] : [true]

    content {
      id      = aws_launch_template.this.id
      version = aws_launch_template.this.latest_version
    }
  }

  dynamic "mixed_instances_policy" {
    for_each = var.spot_percent > 0 ? [true] : []

    content {
      instances_distribution {
        on_demand_base_capacity                  = var.on_demand_base
        on_demand_percentage_above_base_capacity = 100 - var.spot_percent
        spot_allocation_strategy                 = "price-capacity-optimized"
      }

      launch_template {
        launch_template_specification {
          launch_template_id = aws_launch_template.this.id
          version            = aws_launch_template.this.latest_version
        }

        dynamic "override" {
          for_each = var.instance_types

          content {
            instance_type = override.value
          }
        }
      }
    }
  }

  # A new one first, and only when it is ready does an old one go: with a least of 100 % one at a time, with `refresh.max_percent`
  # above it as many as that allows at once.
  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage       = 100
      max_healthy_percentage       = var.refresh.max_percent
      instance_warmup              = var.warmup
      skip_matching                = true
      auto_rollback                = true
      scale_in_protected_instances = "Refresh"
      standby_instances            = "Terminate"

      dynamic "alarm_specification" {
        for_each = length(var.refresh.alarms) > 0 ? [var.refresh.alarms] : []

        content {
          alarms = alarm_specification.value
        }
      }
    }
  }

  dynamic "warm_pool" {
    for_each = var.warm_pool == null ? [] : [var.warm_pool]

    content {
      pool_state                  = "Stopped"
      min_size                    = warm_pool.value.min
      max_group_prepared_capacity = warm_pool.value.max_prepared

      # A stopped machine would come back with the revision it left with.
      instance_reuse_policy {
        reuse_on_scale_in = false
      }
    }
  }

  dynamic "tag" {
    for_each = merge(var.tags, { Name = "${var.name}-runner", streamfleet-role = "runner", streamfleet-cluster = var.name })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    create_before_destroy = true
    # It is the scaling policies'.
    ignore_changes = [desired_capacity]
  }
}

# The runner completes this one when it is ready. If it never is, the machine is given up and the refresh goes back.
resource "aws_autoscaling_lifecycle_hook" "launching" {
  name                   = "streamfleet-launching"
  autoscaling_group_name = aws_autoscaling_group.this.name
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_LAUNCHING"
  default_result         = "ABANDON"
  heartbeat_timeout      = var.launch_timeout
}

# The runner completes this one when its last session has been handed over.
resource "aws_autoscaling_lifecycle_hook" "terminating" {
  name                   = "streamfleet-terminating"
  autoscaling_group_name = aws_autoscaling_group.this.name
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_TERMINATING"
  default_result         = "CONTINUE"
  heartbeat_timeout      = var.terminate_timeout
}
