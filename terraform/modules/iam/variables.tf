# What the module asks for; what must be given comes first.

variable "name" {
  description = "Name of the cluster, which its auto-scaling groups are called by."
  type        = string
}

variable "aws" {
  description = "Where all this is: partition (`aws`, `aws-cn`, …), region, account."
  type = object({
    partition = string
    region    = string
    account   = string
  })
}

variable "secret_names" {
  description = "Names of the secrets that each role may read."
  type = object({
    gateway = list(string)
    runner  = list(string)
  })
}

variable "log_group_names" {
  description = "The log group of each role."
  type = object({
    gateway = string
    runner  = string
  })
}

variable "uploads" {
  description = "Bucket and prefix of what users upload."
  type = object({
    bucket = string
    prefix = string
  })
}

variable "metrics_namespace" {
  description = "The one namespace of CloudWatch that runners may write to."
  type        = string
}

variable "release_object" {
  description = "BUCKET/KEY of the release, where it comes from S3."
  type        = string
  default     = null
}

variable "app_object" {
  description = "BUCKET/KEY of the app's archive, with `*` for its revision, where it comes from S3."
  type        = string
  default     = null
}

variable "app_repository" {
  description = "ARN of the app's repository, where it is an image in ECR."
  type        = string
  default     = null
}

variable "kms_key_arn" {
  description = "KMS key of secrets and uploads, where there is one."
  type        = string
  default     = null
}
