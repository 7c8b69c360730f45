# What the module `cluster` takes as its `network`.

output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "cidr" {
  description = "Its addresses, which the load balancer's are among."
  value       = aws_vpc.this.cidr_block
}

output "public_subnet_ids" {
  description = "Subnets for the load balancer, one a zone."
  value       = [for zone in local.zones : aws_subnet.public[zone].id]
}

output "private_subnet_ids" {
  description = "Subnets for machines and Redis, one a zone."
  value       = [for zone in local.zones : aws_subnet.private[zone].id]
}
