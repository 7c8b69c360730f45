# The bucket is closed, and forgets.

mock_provider "aws" {}

variables {
  bucket    = "fleet-uploads-123456789012"
  partition = "aws"
}

run "as_it_comes" {
  command = plan

  assert {
    condition     = aws_s3_bucket_public_access_block.this.block_public_acls && aws_s3_bucket_public_access_block.this.block_public_policy && aws_s3_bucket_public_access_block.this.ignore_public_acls && aws_s3_bucket_public_access_block.this.restrict_public_buckets
    error_message = "What users upload is nobody else's."
  }
}

run "shorter_than_a_session" {
  command         = plan
  expect_failures = [var.days]

  variables {
    days = 1
  }
}
