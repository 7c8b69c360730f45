# What this environment is written for. For a team, keep the state in S3 (docs/aws.md); no secret is in it, but everything else is.
terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0, < 7.0"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = { streamfleet = var.name }
  }
}
