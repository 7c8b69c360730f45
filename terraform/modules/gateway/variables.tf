# What the module asks for; what must be given comes first.

variable "name" {
  description = "Name of the cluster. A load balancer's may have 32 characters."
  type        = string
}

variable "vpc_id" {
  description = "VPC of the target group."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets for the gateways."
  type        = list(string)
}

variable "balancer_subnet_ids" {
  description = "Subnets for the load balancer, in two zones or more."
  type        = list(string)

  validation {
    condition     = length(var.balancer_subnet_ids) >= 2
    error_message = "balancer_subnet_ids has ${length(var.balancer_subnet_ids)}: a load balancer needs subnets in at least two zones."
  }
}

variable "security_group_id" {
  description = "Security group of the gateways, which lets only the load balancer in."
  type        = string
}

variable "balancer_security_group_id" {
  description = "Security group of the load balancer."
  type        = string
}

variable "instance_profile" {
  description = "Name of the gateways' instance profile."
  type        = string
}

variable "image_id" {
  description = "Machine image: Debian 12, or one with the release in it."
  type        = string
}

variable "user_data" {
  description = "What the module `boot` wrote, in base64."
  type        = string
}

variable "domain" {
  description = "Name that browsers use."
  type        = string
}

variable "certificate_arn" {
  description = "Certificate for that name, in ACM and in the same region."
  type        = string
}

variable "shutdown" {
  description = "The gateway's own `shutdown_notice` and `shutdown_spread`, in seconds, which the load balancer's times are held against."
  type = object({
    notice = number
    spread = number
  })
}

variable "port" {
  description = "The gateway's public port."
  type        = number
  default     = 8501
}

variable "base_path" {
  description = "Streamlit's `server.baseUrlPath` with a slash before it, or nothing."
  type        = string
  default     = ""

  validation {
    condition     = var.base_path == "" || can(regex("^/[^/].*[^/]$|^/[^/]$", var.base_path))
    error_message = "base_path is \"${var.base_path}\": give nothing, or a path such as /reports, with a slash before it and none after it."
  }
}

variable "instance_type" {
  description = "Size of a gateway. It costs 17 to 22 KB of memory a browser, and little CPU."
  type        = string
  default     = "t3.small"
}

variable "size" {
  description = "Fewest and most gateways."
  type = object({
    min = number
    max = number
  })
  default = { min = 2, max = 6 }

  validation {
    condition     = var.size.min >= 1 && var.size.max >= var.size.min
    error_message = "size is ${jsonencode(var.size)}: min has to be 1 or more, and max not below it."
  }
}

variable "health_check" {
  description = "How often the load balancer looks (seconds), how long it waits for an answer, and after how many failures a gateway gets nothing new."
  type = object({
    interval = number
    timeout  = number
    failures = number
  })
  default = { interval = 5, timeout = 3, failures = 2 }

  validation {
    condition     = var.health_check.interval >= 5 && var.health_check.timeout < var.health_check.interval && var.health_check.failures >= 2
    error_message = "health_check is ${jsonencode(var.health_check)}: the interval has to be 5 s or more, the timeout shorter than it, and failures 2 or more."
  }

  validation {
    condition     = var.health_check.interval * var.health_check.failures <= var.shutdown.notice
    error_message = "The load balancer would notice a gateway that ends after ${var.health_check.interval * var.health_check.failures} s, but it serves on for only ${var.shutdown.notice} s: raise shutdown.notice, or lower health_check.interval or failures."
  }
}

variable "deregistration_delay" {
  description = "Seconds for which the load balancer leaves a gateway's connections alone once it is on its way out."
  type        = number
  default     = 60

  validation {
    condition     = var.deregistration_delay >= var.shutdown.notice + var.shutdown.spread + 15 && var.deregistration_delay <= 3600
    error_message = "deregistration_delay is ${var.deregistration_delay} s, but a gateway takes ${var.shutdown.notice + var.shutdown.spread} s (shutdown.notice + shutdown.spread) to send its browsers elsewhere, and up to 15 s to hear that it should: give at least ${var.shutdown.notice + var.shutdown.spread + 15}, at most 3600."
  }
}

variable "launch_timeout" {
  description = "Seconds within which a new gateway must be ready, installation included."
  type        = number
  default     = 600

  validation {
    condition     = var.launch_timeout >= 120 && var.launch_timeout <= 7200
    error_message = "launch_timeout is ${var.launch_timeout} s: a machine takes at least two minutes to install, and Auto Scaling allows 7200."
  }
}

variable "terminate_timeout" {
  description = "Seconds for which a gateway's machine is kept after it has left the load balancer, unless its process has ended before."
  type        = number
  default     = 60

  validation {
    condition     = var.terminate_timeout >= var.shutdown.notice + var.shutdown.spread + 15 && var.terminate_timeout <= 7200
    error_message = "terminate_timeout is ${var.terminate_timeout} s, but a gateway takes ${var.shutdown.notice + var.shutdown.spread} s (shutdown.notice + shutdown.spread) to end, and some to say so: give at least ${var.shutdown.notice + var.shutdown.spread + 15}, at most 7200."
  }
}

variable "cpu_target" {
  description = "CPU use, in percent, that the number of gateways is held at."
  type        = number
  default     = 50

  validation {
    condition     = var.cpu_target >= 10 && var.cpu_target <= 90
    error_message = "cpu_target is ${var.cpu_target}: give 10 to 90 percent."
  }
}

variable "internal" {
  description = "Whether the load balancer is for the VPC and its peers only."
  type        = bool
  default     = false
}

variable "public_addresses" {
  description = "Whether gateways get public addresses, as they need in public subnets to get out at all. Nothing gets in by them."
  type        = bool
  default     = false
}

variable "deletion_protection" {
  description = "Whether AWS refuses to delete the load balancer. Switch it off and apply before tearing down."
  type        = bool
  default     = true
}

variable "access_log_bucket" {
  description = "Bucket for the load balancer's log, which has to let it write; null for none."
  type        = string
  default     = null
}

variable "web_acl_arn" {
  description = "WAF rules to put in front; null for none. Let WebSockets and uploads pass."
  type        = string
  default     = null
}

variable "zone_id" {
  description = "Route 53 zone to put the name into; null to do it yourself, with the output `balancer_name`."
  type        = string
  default     = null
}

variable "disk_gib" {
  description = "Size of the encrypted root volume."
  type        = number
  default     = 10
}

variable "root_device" {
  description = "Name of the image's root device."
  type        = string
  default     = "/dev/xvda"
}

variable "kms_key_arn" {
  description = "KMS key for the volume, which Auto Scaling's service role has to be allowed to use; null for EBS' own."
  type        = string
  default     = null
}

variable "detailed_monitoring" {
  description = "Whether CPU is measured every minute rather than every five, for a fee."
  type        = bool
  default     = true
}

variable "tags" {
  description = "More tags for the machines."
  type        = map(string)
  default     = {}
}
