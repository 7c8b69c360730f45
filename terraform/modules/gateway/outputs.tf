# How the gateways are reached and watched.

output "balancer_name" {
  description = "Name of the load balancer, to point the domain at where `zone_id` is not given."
  value       = aws_lb.this.dns_name
}

output "balancer_dimension" {
  description = "The load balancer as CloudWatch calls it."
  value       = aws_lb.this.arn_suffix
}

output "target_group_dimension" {
  description = "The target group as CloudWatch calls it."
  value       = aws_lb_target_group.this.arn_suffix
}

output "group_name" {
  description = "Name of the auto-scaling group."
  value       = aws_autoscaling_group.this.name
}
