# How Redis is reached and watched. There is no password in any of these.

output "host" {
  description = "Name of the primary. After a failover it leads to the new one."
  value       = aws_elasticache_replication_group.this.primary_endpoint_address
}

output "port" {
  description = "Port that Redis listens on."
  value       = var.port
}

output "user_prefix" {
  description = "What the names of the two users begin with."
  value       = var.user_prefix
}

output "replication_group_id" {
  description = "Id of the replication group, for alarms."
  value       = aws_elasticache_replication_group.this.id
}
