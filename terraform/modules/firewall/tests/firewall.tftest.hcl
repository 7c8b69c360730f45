# Who may talk to whom, and that nobody else may.

mock_provider "aws" {}

variables {
  name   = "fleet"
  vpc_id = "vpc-0123456789abcdef0"
  ports  = { gateway = 8501, runner = 8601, redis = 6379, collector = 4317 }
}

run "ways" {
  command = apply

  assert {
    condition     = [for rule in aws_security_group_rule.way_in : rule.source_security_group_id if rule.security_group_id == aws_security_group.this["runner"].id] == [aws_security_group.this["gateway"].id]
    error_message = "Only gateways may reach runners."
  }

  assert {
    condition     = toset([for rule in aws_security_group_rule.way_in : rule.source_security_group_id if rule.security_group_id == aws_security_group.this["redis"].id]) == toset([aws_security_group.this["gateway"].id, aws_security_group.this["runner"].id])
    error_message = "Both roles have to reach Redis, and nobody else."
  }

  assert {
    condition     = [for rule in aws_security_group_rule.way_in : rule.source_security_group_id if rule.security_group_id == aws_security_group.this["gateway"].id] == [aws_security_group.this["balancer"].id]
    error_message = "Only the load balancer may reach gateways."
  }

  assert {
    condition     = alltrue([for rule in aws_security_group_rule.browsers : rule.security_group_id == aws_security_group.this["balancer"].id])
    error_message = "Only the load balancer may be reached from outside."
  }

  assert {
    condition     = alltrue([for rule in aws_security_group_rule.way_in : rule.from_port == rule.to_port && rule.from_port != 22])
    error_message = "One port each, and no SSH."
  }
}

run "office_only" {
  command = plan

  variables {
    allowed_cidrs = ["198.51.100.0/24"]
    app_egress    = [{ port = 5432, cidr = "10.0.0.0/16" }]
  }

  assert {
    condition     = alltrue([for rule in aws_security_group_rule.browsers : rule.cidr_blocks == tolist(["198.51.100.0/24"])])
    error_message = "Browsers may come from the office alone."
  }

  assert {
    condition     = aws_security_group_rule.outwards["app-5432-10.0.0.0/16"].to_port == 5432
    error_message = "The app has to reach its database."
  }
}

run "nonsense" {
  command         = plan
  expect_failures = [var.allowed_cidrs]

  variables {
    allowed_cidrs = ["office"]
  }
}
