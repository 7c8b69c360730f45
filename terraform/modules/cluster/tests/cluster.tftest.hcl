# The whole, against the schema stub: what is wrong must be refused before anything is made.

variables {
  name            = "fleet"
  network         = { vpc_id = "vpc-1", cidr = "10.0.0.0/16", public_subnet_ids = ["subnet-a", "subnet-b"], private_subnet_ids = ["subnet-c", "subnet-d"] }
  release         = { url = "https://example.com/streamfleet_0.1.0_amd64.deb", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  app             = { git = "https://example.com/app.git" }
  revision        = "main"
  domain          = "app.example.com"
  certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/0"
}

run "as_it_comes" {
  command = plan

  assert {
    condition     = output.url == "https://app.example.com" && output.jaeger == null
    error_message = "The address, and no Jaeger without a collector."
  }
}

run "all_of_it" {
  command = plan

  variables {
    app               = { image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/app:{revision}", path = "/app" }
    traces            = { mode = "own" }
    mtls              = true
    zone_id           = "Z0123456789"
    web_acl_arn       = "arn:aws:wafv2:eu-central-1:123456789012:regional/webacl/a/0"
    base_path         = "/reports"
    kms_key_arn       = "arn:aws:kms:eu-central-1:123456789012:key/0"
    access_log_bucket = "logs"
    runner            = { spot_percent = 50, drain_limit = 90, instance_types = ["m7i.large", "m6i.large"] }
  }

  assert {
    condition     = output.url == "https://app.example.com/reports"
    error_message = "The base path belongs to the address."
  }
}

run "two_sources" {
  command         = plan
  expect_failures = [var.app]

  variables {
    app = { git = "https://example.com/app.git", archive = "s3://apps/app-{revision}.zip" }
  }
}

run "revision_that_names_nothing" {
  command         = plan
  expect_failures = [var.app]

  variables {
    app = { archive = "s3://apps/app.zip" }
  }
}

run "no_certificate" {
  command         = plan
  expect_failures = [var.certificate_arn]

  variables {
    certificate_arn = "certificate"
  }
}

run "long_name" {
  command         = plan
  expect_failures = [var.name]

  variables {
    name = "a-name-that-is-far-too-long"
  }
}

run "endpoint_without_mode" {
  command         = plan
  expect_failures = [var.traces]

  variables {
    traces = { mode = "none", endpoint = "http://collector:4317" }
  }
}
