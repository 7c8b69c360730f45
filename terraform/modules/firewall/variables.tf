# What the module asks for; what must be given comes first.

variable "name" {
  description = "Name of the cluster, which the groups carry."
  type        = string
}

variable "vpc_id" {
  description = "VPC that the groups are for."
  type        = string
}

variable "ports" {
  description = "Where each kind of machine listens. They are given, so that they stand in one place."
  type = object({
    gateway   = number
    runner    = number
    redis     = number
    collector = number
  })
}

variable "allowed_cidrs" {
  description = "Addresses that browsers may come from. The default is everywhere, as for any public page; name your office or VPN for a private one."
  type        = list(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = length(var.allowed_cidrs) > 0 && alltrue([for cidr in var.allowed_cidrs : can(cidrnetmask(cidr))])
    error_message = "allowed_cidrs is ${jsonencode(var.allowed_cidrs)}: give at least one IPv4 network, such as 198.51.100.0/24."
  }
}

variable "app_egress" {
  description = "What the app itself needs to reach beside HTTP and HTTPS: databases, for example."
  type = list(object({
    port = number
    cidr = string
  }))
  default = []

  validation {
    condition     = alltrue([for way in var.app_egress : can(cidrnetmask(way.cidr)) && way.port > 0 && way.port < 65536])
    error_message = "app_egress is ${jsonencode(var.app_egress)}: each entry needs a port from 1 to 65535 and an IPv4 network."
  }
}
