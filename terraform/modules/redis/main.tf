# Redis as both roles use it: one primary that fails over to a replica in another zone, TLS, and one user with no more rights than
# docs/cluster.md lists. Losing it loses no browser connection; a new and empty one is filled again within seconds.

resource "aws_elasticache_subnet_group" "this" {
  name        = var.name
  description = "Where the Redis of ${var.name} is"
  subnet_ids  = var.subnet_ids
}

resource "aws_elasticache_parameter_group" "this" {
  name        = "${var.name}-${var.engine == "redis" ? "redis7" : "valkey8"}"
  family      = var.engine == "redis" ? "redis7" : "valkey8"
  description = "Streamfleet: refuse writes rather than drop leases"

  # Leases have the shortest time to live, so any volatile policy would drop those first, and with them the runners. Full, Redis
  # refuses writes; sessions go on unprotected, the alarm says so, and all is kept again once there is room.
  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }

  # Room for a replica's first copy, and for a failover under load.
  parameter {
    name  = "reserved-memory-percent"
    value = "25"
  }

  # Connections of machines that vanished without a word.
  parameter {
    name  = "tcp-keepalive"
    value = "60"
  }
}

# A user group must have one of this name. Off, with no rights and a password that nobody knows.
resource "aws_elasticache_user" "default" {
  user_id              = "${var.name}-default"
  user_name            = "default"
  engine               = var.engine
  access_string        = "off -@all"
  passwords_wo         = var.password_unused
  passwords_wo_version = 1
}

# Two that take turns: a new password is the other one's, and machines that still have the old one go on with theirs.
resource "aws_elasticache_user" "fleet" {
  for_each = toset(["a", "b"])

  user_id              = "${var.name}-${each.value}"
  user_name            = "${var.user_prefix}-${each.value}"
  engine               = var.engine
  access_string        = local.access
  passwords_wo         = each.value == "a" ? var.password_a : var.password_b
  passwords_wo_version = var.password_versions[each.value]
}

resource "aws_elasticache_user_group" "this" {
  user_group_id = var.name
  engine        = var.engine
  user_ids      = concat([aws_elasticache_user.default.user_id], [for user in aws_elasticache_user.fleet : user.user_id])
}

resource "aws_elasticache_replication_group" "this" {
  #checkov:skip=CKV2_AWS_50:Multi-AZ whenever there is a replica; the environment `minimal` has none, and says so
  #checkov:skip=CKV_AWS_191:ElastiCache encrypts with its own key; another one is the user's choice (kms_key_arn)
  #checkov:skip=CKV_AWS_31:Users of a group with passwords and rights, which AWS offers instead of AUTH

  replication_group_id = var.name
  description          = "Registry, sessions and cache of the Streamfleet cluster ${var.name}"

  engine               = var.engine
  engine_version       = var.engine == "redis" ? "7.1" : "8.0"
  node_type            = var.node_type
  port                 = var.port
  parameter_group_name = aws_elasticache_parameter_group.this.name
  subnet_group_name    = aws_elasticache_subnet_group.this.name
  security_group_ids   = [var.security_group_id]
  user_group_ids       = [aws_elasticache_user_group.this.user_group_id]

  num_cache_clusters         = var.replicas + 1
  automatic_failover_enabled = var.replicas > 0
  multi_az_enabled           = var.replicas > 0

  transit_encryption_enabled = true
  at_rest_encryption_enabled = true
  kms_key_id                 = var.kms_key_arn

  auto_minor_version_upgrade = true
  maintenance_window         = var.maintenance_window
  snapshot_retention_limit   = var.snapshot_days
  snapshot_window            = var.snapshot_days > 0 ? var.snapshot_window : null
  apply_immediately          = true
}

locals {
  # The same words as in docs/cluster.md, which a check holds against each other.
  access = join(" ", [
    "on resetchannels ~streamfleet:* &streamfleet:* -@all",
    "+ping +evalsha +script|load +subscribe +publish +time",
    "+hget +hgetall +hset +hdel +hmget +zadd +zrem +zscore +zcard +zrank +zrange +zrangebyscore +pexpire +del +sadd +srem +smembers +hlen +rename",
  ])
}
