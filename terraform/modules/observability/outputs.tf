# Where to look.

output "otlp_endpoint" {
  description = "Where gateways and runners send their traces; null without a collector here."
  value       = length(aws_instance.collector) == 0 ? null : "http://${aws_instance.collector[0].private_ip}:${var.otlp_port}"
}

output "collector_id" {
  description = "The collector's instance, to forward Jaeger's port from; null without one."
  value       = one(aws_instance.collector[*].id)
}

output "collector_config" {
  description = "The collector's user data, to be read."
  value       = local.collector_config
}

output "dashboard_name" {
  description = "Name of the dashboard."
  value       = aws_cloudwatch_dashboard.this.dashboard_name
}
