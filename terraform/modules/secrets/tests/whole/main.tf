# The module within another: only there may outputs be ephemeral.

variable "name" {
  type = string
}

variable "redis" {
  type = object({ host = string, port = number, user_prefix = string })
}

variable "redis_version" {
  type    = number
  default = 1
}

module "secrets" {
  source = "../.."

  name          = var.name
  redis         = var.redis
  redis_version = var.redis_version
}

output "redis_versions" {
  value = module.secrets.redis_versions
}
