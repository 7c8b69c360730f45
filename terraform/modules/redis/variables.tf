# What the module asks for; what must be given comes first.

variable "name" {
  description = "Name of the cluster. ElastiCache allows 40 characters: letters, digits and single hyphens."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", var.name)) && length(var.name) <= 32
    error_message = "name is \"${var.name}\": give at most 32 small letters, digits and single hyphens, a letter first."
  }
}

variable "subnet_ids" {
  description = "Subnets for its nodes, in as many zones as there are nodes."
  type        = list(string)
}

variable "security_group_id" {
  description = "Security group that lets gateways and runners in, and nobody else."
  type        = string
}

variable "password_a" {
  description = "Password of the user `a`. It is sent to AWS and kept nowhere, neither in the state nor in a plan."
  type        = string
  ephemeral   = true
}

variable "password_b" {
  description = "Password of the user `b`, who takes turns with `a`."
  type        = string
  ephemeral   = true
}

variable "password_unused" {
  description = "Password of the user `default`, which is off. Nobody needs to know it."
  type        = string
  ephemeral   = true
}

variable "password_versions" {
  description = "Numbers that are raised for a user's password to be sent again: Terraform can't see whether it has changed."
  type = object({
    a = number
    b = number
  })
}

variable "user_prefix" {
  description = "What the names of the two users begin with."
  type        = string
  default     = "fleet"
}

variable "engine" {
  description = "`redis` (7.1, close to what the tests run against) or `valkey` (8.0, a fifth cheaper, not tried)."
  type        = string
  default     = "redis"

  validation {
    condition     = contains(["redis", "valkey"], var.engine)
    error_message = "engine is \"${var.engine}\": give redis or valkey."
  }
}

variable "node_type" {
  description = "Size of each node. Its memory holds sessions' states (about 500 bytes of a small one), cached values (`cache_size`, 1 GiB) and small uploads."
  type        = string
  default     = "cache.t4g.small"
}

variable "replicas" {
  description = "Replicas beside the primary, each in another zone. With 0 there is no failover: sessions go on while Redis is away, but aren't protected."
  type        = number
  default     = 1

  validation {
    condition     = var.replicas >= 0 && var.replicas <= 5
    error_message = "replicas is ${var.replicas}: give 0 to 5."
  }

  validation {
    condition     = var.replicas < length(var.subnet_ids)
    error_message = "replicas is ${var.replicas}, but there are only ${length(var.subnet_ids)} subnets: each node needs a zone of its own."
  }
}

variable "port" {
  description = "Port that Redis listens on."
  type        = number
  default     = 6379
}

variable "kms_key_arn" {
  description = "KMS key for what is on disk; null for ElastiCache's own."
  type        = string
  default     = null
}

variable "maintenance_window" {
  description = "When AWS may replace nodes (UTC). A failover then takes some seconds, which users don't notice."
  type        = string
  default     = "sun:03:00-sun:04:00"
}

variable "snapshot_days" {
  description = "Days to keep a daily copy; 0 for none. None is needed: an empty Redis is filled again by those who use it. Keep some to have hibernated sessions back after a disaster."
  type        = number
  default     = 0

  validation {
    condition     = var.snapshot_days >= 0 && var.snapshot_days <= 35
    error_message = "snapshot_days is ${var.snapshot_days}: ElastiCache keeps copies for up to 35 days."
  }
}

variable "snapshot_window" {
  description = "When the daily copy is made (UTC)."
  type        = string
  default     = "01:00-02:00"
}
