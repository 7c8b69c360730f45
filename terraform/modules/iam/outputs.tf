# What launch templates name.

output "instance_profiles" {
  description = "Names of the instance profiles `gateway`, `runner` and `collector`."
  value       = { for role, profile in aws_iam_instance_profile.this : role => profile.name }

  # A machine that starts before it may do anything would fail to install.
  depends_on = [aws_iam_role_policy.this]
}
