# Where everything is, and how to get there.

output "url" {
  description = "Where users go."
  value       = module.cluster.url
}

output "balancer_name" {
  description = "What the domain has to point at, where `zone_id` is not given."
  value       = module.cluster.balancer_name
}

output "dashboard_url" {
  description = "The dashboard."
  value       = module.cluster.dashboard_url
}

output "jaeger" {
  description = "How to open Jaeger: a command that forwards its port through SSM, and the address to open then. Null without a collector here."
  value       = module.cluster.jaeger
}

output "status_command" {
  description = "How to run `streamfleet status` from outside."
  value       = module.cluster.status_command
}

output "page_command" {
  description = "How to open the cluster page."
  value       = module.cluster.page_command
}

output "roll_command" {
  description = "How to see how a roll goes."
  value       = module.cluster.roll_command
}

output "cloud_config" {
  description = "User data of each kind of machine, to be read. There are no secrets in it."
  value       = module.cluster.cloud_config
}
