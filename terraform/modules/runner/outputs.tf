# How the runners are watched.

output "group_name" {
  description = "Name of the auto-scaling group, for `aws autoscaling start-instance-refresh` and its relatives."
  value       = aws_autoscaling_group.this.name
}
