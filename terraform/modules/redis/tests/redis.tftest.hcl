# Redis' settings, and the rights of its users.

mock_provider "aws" {}

variables {
  name              = "fleet"
  subnet_ids        = ["subnet-a", "subnet-b", "subnet-c"]
  security_group_id = "sg-1"
  password_a        = "a-password-for-tests-only"
  password_b        = "a-password-for-tests-only"
  password_unused   = "a-password-for-tests-only"
  password_versions = { a = 1, b = 1 }
}

run "as_it_comes" {
  command = plan

  assert {
    condition     = aws_elasticache_replication_group.this.transit_encryption_enabled && tobool(aws_elasticache_replication_group.this.at_rest_encryption_enabled)
    error_message = "Encrypted on the wire and on disk."
  }

  assert {
    condition     = aws_elasticache_replication_group.this.multi_az_enabled && aws_elasticache_replication_group.this.num_cache_clusters == 2
    error_message = "Two nodes in two zones."
  }

  assert {
    condition     = aws_elasticache_user.default.access_string == "off -@all"
    error_message = "The user that every Redis has must have no rights."
  }
}

run "single" {
  command = plan

  variables {
    replicas = 0
  }

  assert {
    condition     = !aws_elasticache_replication_group.this.automatic_failover_enabled
    error_message = "AWS refuses failover without a replica."
  }
}

run "more_nodes_than_zones" {
  command         = plan
  expect_failures = [var.replicas]

  variables {
    replicas = 3
  }
}

run "other_engine" {
  command         = plan
  expect_failures = [var.engine]

  variables {
    engine = "memcached"
  }
}
