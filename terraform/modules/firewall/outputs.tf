# The groups, by what they are for.

output "group_ids" {
  description = "Ids of the security groups `balancer`, `gateway`, `runner`, `redis` and `collector`. They can be used once all rules are in place."
  value       = { for kind, group in aws_security_group.this : kind => group.id }

  # A machine that starts before it may speak would give up on its installation.
  depends_on = [aws_security_group_rule.way_in, aws_security_group_rule.way_out, aws_security_group_rule.outwards]
}
