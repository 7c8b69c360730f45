# User data of both roles.

variables {
  role         = "runner"
  name         = "fleet"
  region       = "eu-central-1"
  release      = { url = "s3://releases/streamfleet_0.1.0_amd64.deb", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  secrets      = { redis = "fleet/redis", admin-token = "fleet/admin-token", secret = "fleet/secret" }
  stop_timeout = 150
  app          = { kind = "archive", source = "s3://apps/app-{revision}.tar.gz", revision = "v1" }
}

run "runner" {
  command = plan

  assert {
    condition     = strcontains(output.cloud_config, "APP_SOURCE='s3://apps/app-v1.tar.gz'")
    error_message = "The revision belongs into the source."
  }

  assert {
    condition     = output.command == "/usr/bin/streamfleet runner /srv/streamfleet/app/streamlit_app.py --config /etc/streamfleet/streamfleet.toml"
    error_message = "The command isn't what it should be: ${output.command}"
  }
}

run "gateway" {
  command = plan

  variables {
    role = "gateway"
    app  = null
  }

  assert {
    condition     = !strcontains(output.cloud_config, "lib/streamfleet-app\"") && strcontains(output.cloud_config, "APP_KIND=''")
    error_message = "A gateway has no app."
  }
}

run "gateway_with_app" {
  command         = plan
  expect_failures = [var.role]

  variables {
    role = "gateway"
  }
}

run "escaping_path" {
  command         = plan
  expect_failures = [var.app]

  variables {
    app = { kind = "git", source = "https://example.com/app.git", revision = "main", path = "../etc" }
  }
}

run "release_without_checksum" {
  command         = plan
  expect_failures = [var.release]

  variables {
    release = { url = "https://example.com/streamfleet.deb", sha256 = "" }
  }
}

run "nested_settings" {
  command         = plan
  expect_failures = [var.settings]

  variables {
    settings = { workers = [1, 2] }
  }
}
