# Alarms, dashboard, and the collector's user data.

mock_provider "aws" {}

variables {
  name                   = "fleet"
  region                 = "eu-central-1"
  log_group_names        = { gateway = "/fleet/gateway", runner = "/fleet/runner" }
  metrics                = { namespace = "Streamfleet", sessions = "SessionsPerRunner", queue_wait = "QueueWait", dimension = "Cluster" }
  balancer_dimension     = "app/fleet/0123456789abcdef"
  target_group_dimension = "targetgroup/fleet/0123456789abcdef"
  redis_id               = "fleet"
}

run "no_collector" {
  command = plan

  assert {
    condition     = output.otlp_endpoint == null && output.collector_id == null
    error_message = "Without a collector there is nowhere to send traces."
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : length(alarm.alarm_description) > 20])
    error_message = "Each alarm has to say what to look at."
  }
}

run "collector" {
  command = plan

  variables {
    collector = {
      image_id            = "ami-0123456789abcdef0"
      instance_type       = "t3.small"
      subnet_id           = "subnet-a"
      security_group_id   = "sg-1"
      instance_profile    = "fleet-collector"
      public_address      = false
      detailed_monitoring = false
    }
  }

  assert {
    condition     = aws_instance.collector[0].metadata_options[0].http_tokens == "required" && aws_instance.collector[0].root_block_device[0].encrypted
    error_message = "IMDSv2 and an encrypted volume."
  }

  assert {
    condition     = length(base64gzip(output.collector_config)) < 16384
    error_message = "EC2 takes 16 KiB of user data."
  }
}

run "odd_days" {
  command         = plan
  expect_failures = [var.log_days]

  variables {
    log_days = 10
  }
}
