# Drain, life-cycle hook, roll and Spot, held against each other.

mock_provider "aws" {}

variables {
  name              = "fleet"
  subnet_ids        = ["subnet-a", "subnet-b"]
  security_group_id = "sg-1"
  instance_profile  = "fleet-runner"
  image_id          = "ami-0123456789abcdef0"
  user_data         = "IyEvYmluL3No"
  drain_limit       = 120
  metrics           = { namespace = "Streamfleet", sessions = "SessionsPerRunner", queue_wait = "QueueWait", dimension = "Cluster" }
}

run "as_it_comes" {
  command = plan

  assert {
    condition     = aws_autoscaling_group.this.instance_refresh[0].preferences[0].min_healthy_percentage == 100 && aws_autoscaling_group.this.instance_refresh[0].preferences[0].max_healthy_percentage == 110
    error_message = "A new runner has to be there before an old one goes."
  }

  assert {
    condition     = aws_autoscaling_lifecycle_hook.terminating.heartbeat_timeout >= var.drain_limit + 60 && aws_autoscaling_lifecycle_hook.terminating.default_result == "CONTINUE"
    error_message = "A machine has to be kept for as long as its drain takes."
  }

  assert {
    condition     = aws_autoscaling_lifecycle_hook.launching.default_result == "ABANDON"
    error_message = "A runner that never gets ready must not be taken for one that is."
  }

  assert {
    condition     = aws_launch_template.this.metadata_options[0].http_tokens == "required"
    error_message = "Metadata only by IMDSv2."
  }
}

run "hook_shorter_than_drain" {
  command         = plan
  expect_failures = [var.terminate_timeout]

  variables {
    drain_limit = 241
  }
}

run "longer_than_any_hook" {
  command         = plan
  expect_failures = [var.drain_limit]

  variables {
    drain_limit       = 7000
    terminate_timeout = 7200
  }
}

run "too_long_for_spot" {
  command         = plan
  expect_failures = [var.drain_limit]

  variables {
    spot_percent   = 50
    instance_types = ["m7i.large", "m6i.large"]
  }
}

run "spot_with_one_size" {
  command         = plan
  expect_failures = [var.instance_types]

  variables {
    spot_percent = 50
    drain_limit  = 90
  }
}

run "spot" {
  command = plan

  variables {
    spot_percent   = 50
    drain_limit    = 90
    instance_types = ["m7i.large", "m6i.large"]
  }

  assert {
    condition     = aws_autoscaling_group.this.mixed_instances_policy[0].instances_distribution[0].on_demand_percentage_above_base_capacity == 50 && aws_autoscaling_group.this.capacity_rebalance
    error_message = "Half of them are Spot machines, and replaced before they are taken."
  }
}

run "spot_and_warm_pool" {
  command         = plan
  expect_failures = [var.spot_percent]

  variables {
    spot_percent   = 50
    drain_limit    = 90
    instance_types = ["m7i.large", "m6i.large"]
    warm_pool      = { min = 1, max_prepared = 3 }
  }
}

run "warm_pool" {
  command = plan

  variables {
    warm_pool = { min = 1, max_prepared = 3 }
  }

  assert {
    condition     = aws_autoscaling_group.this.warm_pool[0].instance_reuse_policy[0].reuse_on_scale_in == false
    error_message = "A stopped machine must not come back with an old revision."
  }
}

run "no_room_for_a_roll" {
  command         = plan
  expect_failures = [var.size]

  variables {
    size = { min = 2, max = 2 }
  }
}

run "old_ones_first" {
  command         = plan
  expect_failures = [var.refresh]

  variables {
    refresh = { max_percent = 100 }
  }
}

run "longer_than_a_roll_may_take" {
  command         = plan
  expect_failures = [var.refresh]

  variables {
    size              = { min = 2, max = 150 }
    refresh           = { max_percent = 101 }
    launch_timeout    = 7200
    terminate_timeout = 7200
  }
}
