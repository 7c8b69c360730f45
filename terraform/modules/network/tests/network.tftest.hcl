# The address plan and the ways out.

mock_provider "aws" {
  override_data {
    target = data.aws_availability_zones.available
    values = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
}

variables {
  name   = "fleet"
  region = "eu-central-1"
  nat    = "each_zone"
  zones  = 3
}

run "three_zones" {
  command = plan

  assert {
    condition     = length(aws_nat_gateway.this) == 3 && length(aws_subnet.private) == 3 && length(aws_subnet.public) == 3
    error_message = "Each zone needs a private and a public subnet and its own way out."
  }

  assert {
    condition     = length(distinct(concat([for subnet in aws_subnet.public : subnet.cidr_block], [for subnet in aws_subnet.private : subnet.cidr_block]))) == 6
    error_message = "Two subnets have the same addresses."
  }
}

run "one_way_out" {
  command = plan

  variables {
    nat = "single"
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 1 && length(aws_route.nat) == 3
    error_message = "All zones have to leave by the one NAT gateway."
  }
}

run "no_way_out" {
  command = plan

  variables {
    nat = "none"
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 0 && length(aws_route.nat) == 0
    error_message = "Nothing may be paid for that isn't wanted."
  }
}

run "wrong_nat" {
  command         = plan
  expect_failures = [var.nat]

  variables {
    nat = "some"
  }
}

run "wrong_cidr" {
  command         = plan
  expect_failures = [var.cidr]

  variables {
    cidr = "10.0.0.0/24"
  }
}

run "one_zone" {
  command         = plan
  expect_failures = [var.zones]

  variables {
    zones = 1
  }
}
