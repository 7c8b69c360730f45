# What the module asks for; what must be given comes first.

variable "name" {
  description = "Name of the cluster, which all that is made here carries."
  type        = string
}

variable "region" {
  description = "Region that the provider works in; the S3 endpoint is named by it."
  type        = string
}

variable "nat" {
  description = "How private subnets get out: `none` (put machines into the public subnets), `single` (one NAT gateway, cheaper) or `each_zone` (a lost zone takes no other along)."
  type        = string

  validation {
    condition     = contains(["none", "single", "each_zone"], var.nat)
    error_message = "nat is \"${var.nat}\": give none, single or each_zone."
  }
}

variable "zones" {
  description = "Availability zones to use. A load balancer needs two."
  type        = number
  default     = 2

  validation {
    condition     = var.zones >= 2 && var.zones <= 6
    error_message = "zones is ${var.zones}: give 2 to 6, as a load balancer needs two and the address plan has room for six."
  }
}

variable "cidr" {
  description = "Addresses of the VPC, a /16 to /20. Change it where it is to be peered with a network that has the same."
  type        = string
  default     = "10.42.0.0/16"

  validation {
    condition     = can(cidrsubnet(var.cidr, 4, 15)) && try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 20, false)
    error_message = "cidr is \"${var.cidr}\": give an IPv4 network between /16 and /20, such as 10.42.0.0/16."
  }
}

variable "flow_log_days" {
  description = "Days to keep a log of connections in the VPC; 0 for none. It costs by the gigabyte."
  type        = number
  default     = 0

  validation {
    condition     = contains([0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.flow_log_days)
    error_message = "flow_log_days is ${var.flow_log_days}: CloudWatch keeps logs for 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545 or 731 days; 0 is for none."
  }
}

variable "kms_key_arn" {
  description = "KMS key for the flow log; null for the key of CloudWatch itself."
  type        = string
  default     = null
}
