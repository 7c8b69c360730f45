# Where everything is, and how to get there.

output "url" {
  description = "Where users go."
  value       = "https://${var.domain}${var.base_path}"
}

output "balancer_name" {
  description = "What the domain has to point at, where `zone_id` is not given."
  value       = module.gateway.balancer_name
}

output "dashboard_url" {
  description = "The dashboard."
  value       = "https://${local.region}.console.aws.amazon.com/cloudwatch/home?region=${local.region}#dashboards:name=${module.observability.dashboard_name}"
}

output "jaeger" {
  description = "How to open Jaeger: a command that forwards its port through SSM, and the address to open then. Null without a collector here."
  value = module.observability.collector_id == null ? null : {
    forward = "aws ssm start-session --region ${local.region} --target ${module.observability.collector_id} --document-name AWS-StartPortForwardingSession --parameters portNumber=${local.ports.jaeger},localPortNumber=${local.ports.jaeger}"
    url     = "http://localhost:${local.ports.jaeger}"
  }
}

locals {
  a_gateway = "$(aws ec2 describe-instances --region ${local.region} --filters Name=tag:streamfleet-cluster,Values=${var.name} Name=tag:streamfleet-role,Values=gateway Name=instance-state-name,Values=running --query 'Reservations[0].Instances[0].InstanceId' --output text)"
}

output "status_command" {
  description = "How to run `streamfleet status` from outside: on a gateway, which reaches Redis and the runners."
  value       = "aws ssm start-session --region ${local.region} --target ${local.a_gateway} --document-name AWS-StartInteractiveCommand --parameters 'command=[\"sudo sh -c \\\"set -a; . /etc/streamfleet/secrets/environment; streamfleet status --config /etc/streamfleet/streamfleet.toml\\\"\"]'"
}

output "page_command" {
  description = "How to open the cluster page: forwards a gateway's admin port; then open http://localhost:8502 and give the admin token."
  value       = "aws ssm start-session --region ${local.region} --target ${local.a_gateway} --document-name AWS-StartPortForwardingSession --parameters portNumber=${local.ports.gateway_admin},localPortNumber=${local.ports.gateway_admin}"
}

output "roll_command" {
  description = "How to see how a roll goes."
  value       = "aws autoscaling describe-instance-refreshes --region ${local.region} --auto-scaling-group-name ${module.runner.group_name} --max-records 1"
}

output "cloud_config" {
  description = "User data of each kind of machine, to be read. There are no secrets in it."
  value = {
    gateway   = module.gateway_boot.cloud_config
    runner    = module.runner_boot.cloud_config
    collector = module.observability.collector_config
  }
}
