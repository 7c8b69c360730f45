# Versions of passwords. (Against the schema stub: Terraform's mocks have no ephemeral resources.)

variables {
  name  = "fleet"
  redis = { host = "redis.example.com", port = 6379, user_prefix = "fleet" }
}

run "first" {
  command = plan

  module {
    source = "./tests/whole"
  }

  assert {
    condition     = output.redis_versions.a == 1 && output.redis_versions.b == 1
    error_message = "Both users' passwords are of their first version."
  }
}

run "second_is_user_bs" {
  command = plan

  module {
    source = "./tests/whole"
  }

  variables {
    redis_version = 2
  }

  assert {
    condition     = output.redis_versions.a == 1 && output.redis_versions.b == 2
    error_message = "Version 2 is a new password for user b; user a's has to stay as it is."
  }
}

run "third_is_user_as" {
  command = plan

  module {
    source = "./tests/whole"
  }

  variables {
    redis_version = 3
  }

  assert {
    condition     = output.redis_versions.a == 2 && output.redis_versions.b == 2
    error_message = "Version 3 is a new password for user a; user b's has to stay as it is."
  }
}
