# The times of load balancer and gateway, held against each other.

mock_provider "aws" {
  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/fleet/0123456789abcdef" }
  }

  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/fleet/0123456789abcdef" }
  }
}

variables {
  name                       = "fleet"
  vpc_id                     = "vpc-0123456789abcdef0"
  subnet_ids                 = ["subnet-a", "subnet-b"]
  balancer_subnet_ids        = ["subnet-c", "subnet-d"]
  security_group_id          = "sg-1"
  balancer_security_group_id = "sg-2"
  instance_profile           = "fleet-gateway"
  image_id                   = "ami-0123456789abcdef0"
  user_data                  = "IyEvYmluL3No"
  domain                     = "app.example.com"
  certificate_arn            = "arn:aws:acm:eu-central-1:123456789012:certificate/0"
  shutdown                   = { notice = 15, spread = 10 }
}

run "as_it_comes" {
  command = plan

  assert {
    condition     = aws_lb_target_group.this.stickiness[0].enabled == false && aws_lb.this.idle_timeout == 3600
    error_message = "No stickiness, and browsers may be quiet for long."
  }

  assert {
    condition     = aws_launch_template.this.metadata_options[0].http_tokens == "required" && aws_launch_template.this.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "Metadata only by IMDSv2, and from the machine itself."
  }

  assert {
    condition     = tostring(aws_launch_template.this.block_device_mappings[0].ebs[0].encrypted) == "true"
    error_message = "Volumes have to be encrypted."
  }

  assert {
    condition     = aws_lb_listener.redirect.default_action[0].type == "redirect" && aws_lb_listener.https.protocol == "HTTPS"
    error_message = "HTTP only sends on to HTTPS."
  }
}

run "cut_off_too_early" {
  command         = plan
  expect_failures = [var.deregistration_delay]

  variables {
    deregistration_delay = 39
  }
}

run "noticed_too_late" {
  command         = plan
  expect_failures = [var.health_check]

  variables {
    health_check = { interval = 10, timeout = 3, failures = 2 }
  }
}

run "longer_shutdown_needs_more" {
  command         = plan
  expect_failures = [var.deregistration_delay, var.terminate_timeout]

  variables {
    shutdown = { notice = 30, spread = 30 }
  }
}

run "longer_shutdown_with_more" {
  command = plan

  variables {
    shutdown             = { notice = 30, spread = 30 }
    deregistration_delay = 75
    terminate_timeout    = 75
  }

  assert {
    condition     = tonumber(aws_lb_target_group.this.deregistration_delay) == 75 && aws_autoscaling_lifecycle_hook.terminating.heartbeat_timeout == 75
    error_message = "The times that are given are the ones to use."
  }
}

run "one_zone" {
  command         = plan
  expect_failures = [var.balancer_subnet_ids]

  variables {
    balancer_subnet_ids = ["subnet-c"]
  }
}
