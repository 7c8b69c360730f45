# What the module asks for; what must be given comes first.

variable "name" {
  description = "Name of the cluster. Its secrets are NAME/redis, NAME/secret and so on."
  type        = string
}

variable "redis" {
  description = "Where Redis is, and what its two users' names begin with."
  type = object({
    host        = string
    port        = number
    user_prefix = string
  })
}

variable "redis_version" {
  description = "Raise it by one for a new password of Redis. Odd and even versions are different users, so that the one before goes on working meanwhile."
  type        = number
  default     = 1

  validation {
    condition     = var.redis_version >= 1 && floor(var.redis_version) == var.redis_version
    error_message = "redis_version is ${var.redis_version}: give a whole number from 1, and raise it by one each time."
  }
}

variable "cluster_version" {
  description = "Raise it by one for a new cluster secret. Secrets Manager keeps the one before as AWSPREVIOUS."
  type        = number
  default     = 1
}

variable "admin_version" {
  description = "Raise it by one for a new admin token."
  type        = number
  default     = 1
}

variable "mtls" {
  description = "Whether there are places for the certificates of gateways and runners too."
  type        = bool
  default     = false
}

variable "kms_key_arn" {
  description = "KMS key for the secrets; null for the one of Secrets Manager."
  type        = string
  default     = null
}

variable "recovery_days" {
  description = "Days for which a deleted secret can be brought back. With 0 it is gone at once, and the name free again; else a cluster of the same name can't be made again meanwhile."
  type        = number
  default     = 7

  validation {
    condition     = var.recovery_days == 0 || (var.recovery_days >= 7 && var.recovery_days <= 30)
    error_message = "recovery_days is ${var.recovery_days}: give 0, or 7 to 30."
  }
}
