# What the module asks for; what must be given comes first.

variable "bucket" {
  description = "Name of the bucket; bucket names are worldwide."
  type        = string
}

variable "partition" {
  description = "Partition of AWS: `aws`, `aws-cn`, …"
  type        = string
}

variable "days" {
  description = "Days after which a copy is deleted in any case. Sessions are over 24 hours after they were last anywhere."
  type        = number
  default     = 3

  validation {
    condition     = var.days >= 2
    error_message = "days is ${var.days}: give 2 or more, as a session may come back for 24 hours."
  }
}

variable "kms_key_arn" {
  description = "KMS key for the copies; null for S3's own."
  type        = string
  default     = null
}
