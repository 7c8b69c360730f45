# What the module asks for; what must be given comes first.

variable "role" {
  description = "What the machine is to be: `gateway` or `runner`."
  type        = string

  validation {
    condition     = contains(["gateway", "runner"], var.role)
    error_message = "role is \"${var.role}\": give gateway or runner."
  }

  validation {
    condition     = (var.role == "runner") == (var.app != null)
    error_message = "A runner needs an app, and a gateway has none: see app."
  }
}

variable "name" {
  description = "Name of the cluster, which is the setting `cluster` too."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{1,40}$", var.name))
    error_message = "name is \"${var.name}\": give at most 40 letters, digits, hyphens, dots or underscores."
  }
}

variable "region" {
  description = "Region of the secrets, of S3 and of AWS' agents."
  type        = string
}

variable "release" {
  description = "Where the Debian package of Streamfleet is (https:// or s3://), and its SHA-256."
  type = object({
    url    = string
    sha256 = string
  })

  validation {
    condition     = can(regex("^(https|s3)://[^\\s']+\\.deb$", var.release.url)) && can(regex("^[0-9a-f]{64}$", var.release.sha256))
    error_message = "release is ${jsonencode(var.release)}: give the https:// or s3:// address of a .deb file, and its SHA-256 as 64 small hexadecimal digits."
  }
}

variable "secrets" {
  description = "Names in Secrets Manager by what they hold: `redis`, `admin-token`, for runners `secret`, with mTLS `tls-gateway` or `tls-runner`."
  type        = map(string)

  validation {
    condition     = contains(keys(var.secrets), "redis") && alltrue([for kind, name in var.secrets : can(regex("^[A-Za-z0-9/_+=.@-]+$", name))])
    error_message = "secrets is ${jsonencode(var.secrets)}: it needs `redis`, and names as Secrets Manager allows them."
  }
}

variable "stop_timeout" {
  description = "Seconds that systemd gives the process to end: for a runner its drain and some more."
  type        = number
}

variable "secrets_versions" {
  description = "Text that changes with the secrets. Nothing reads it, but with it the user data changes, and so the machines are replaced."
  type        = string
  default     = ""
}

variable "app" {
  description = "Runners only: `kind` (`archive`, `git`, `image`), `source` (with `{revision}` wherever that belongs), `revision`, `path` within it, and the `script` in there."
  type = object({
    kind     = string
    source   = string
    revision = string
    path     = optional(string, "")
    script   = optional(string, "streamlit_app.py")
  })
  default = null

  validation {
    condition     = var.app == null || contains(["archive", "git", "image"], try(var.app.kind, ""))
    error_message = "app.kind is \"${try(var.app.kind, "")}\": give archive, git or image."
  }

  validation {
    condition     = var.app == null || can(regex("^[A-Za-z0-9_.-]{1,64}$", var.app.revision))
    error_message = "app.revision is \"${try(var.app.revision, "")}\": give at most 64 letters, digits, hyphens, dots or underscores."
  }

  validation {
    condition     = var.app == null || (can(regex("^[A-Za-z0-9_./-]+\\.py$", var.app.script)) && can(regex("^[A-Za-z0-9_./-]*$", var.app.path)) && !strcontains(try("${var.app.path}/${var.app.script}", ""), ".."))
    error_message = "app.path and app.script are \"${try(var.app.path, "")}\" and \"${try(var.app.script, "")}\": give a folder and a .py file within it, of letters, digits, hyphens, dots and underscores, without \"..\"."
  }
}

variable "settings" {
  description = "More settings of Streamfleet, by name (docs/usage.md, docs/cluster.md): numbers, texts and booleans."
  type        = any
  default     = {}

  validation {
    condition     = alltrue([for name, value in var.settings : can(regex("^[a-z_]+$", name)) && can(tostring(value))])
    error_message = "settings is ${jsonencode(var.settings)}: give names in small letters, with numbers, texts or booleans."
  }
}

variable "otlp_endpoint" {
  description = "Where traces go; null for none."
  type        = string
  default     = null
}

variable "log_group" {
  description = "CloudWatch log group for the process' log; null to keep it on the machine."
  type        = string
  default     = null
}

variable "packages" {
  description = "More Debian packages, such as libraries that the app's Python packages need."
  type        = list(string)
  default     = []
}

variable "metadata_url" {
  description = "Where instance metadata is. Only tests have another."
  type        = string
  default     = "http://169.254.169.254"
}
