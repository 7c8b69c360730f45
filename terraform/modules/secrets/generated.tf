# Values that nobody thinks up and Terraform never keeps: each run draws new ones, and AWS is given them only where the number of the
# version has changed. Neither the state nor a plan has any of them.

ephemeral "aws_secretsmanager_random_password" "cluster" {
  password_length     = 64
  exclude_punctuation = true
}

ephemeral "aws_secretsmanager_random_password" "admin" {
  password_length     = 48
  exclude_punctuation = true
}

# Redis' two users take turns, so each has its own. Without punctuation, as they become part of an address.
ephemeral "aws_secretsmanager_random_password" "redis_a" {
  password_length     = 64
  exclude_punctuation = true
}

ephemeral "aws_secretsmanager_random_password" "redis_b" {
  password_length     = 64
  exclude_punctuation = true
}

ephemeral "aws_secretsmanager_random_password" "redis_unused" {
  password_length     = 64
  exclude_punctuation = true
}

locals {
  cluster_secret = ephemeral.aws_secretsmanager_random_password.cluster.random_password
  admin_token    = ephemeral.aws_secretsmanager_random_password.admin.random_password

  redis_passwords = {
    a      = ephemeral.aws_secretsmanager_random_password.redis_a.random_password
    b      = ephemeral.aws_secretsmanager_random_password.redis_b.random_password
    unused = ephemeral.aws_secretsmanager_random_password.redis_unused.random_password
  }
}
