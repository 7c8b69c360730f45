# Roles that reach only what is theirs.

mock_provider "aws" {}

variables {
  name              = "fleet"
  aws               = { partition = "aws", region = "eu-central-1", account = "123456789012" }
  secret_names      = { gateway = ["fleet/redis"], runner = ["fleet/redis", "fleet/secret"] }
  log_group_names   = { gateway = "/fleet/gateway", runner = "/fleet/runner" }
  uploads           = { bucket = "fleet-uploads", prefix = "uploads" }
  metrics_namespace = "Streamfleet"
}

run "as_it_comes" {
  command = plan

  assert {
    condition     = !strcontains(aws_iam_role_policy.this["gateway"].policy, "fleet/secret") && strcontains(aws_iam_role_policy.this["runner"].policy, "fleet/secret-??????")
    error_message = "Only runners have the cluster's secret."
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.this["gateway"].policy, "autoScalingGroupName/fleet-runner")
    error_message = "A gateway must not end a runner's wait."
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.this["runner"].policy, "ecr:") && !strcontains(aws_iam_role_policy.this["gateway"].policy, "s3:")
    error_message = "What isn't used must not be allowed."
  }
}
