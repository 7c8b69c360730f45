# What this module is written for. Ephemeral values and write-only arguments need Terraform 1.11 and this provider.
terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0, < 7.0"
    }
  }
}
