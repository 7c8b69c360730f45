# What the module asks for; what must be given comes first.

variable "name" {
  description = "Name of the cluster, which everything carries."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", var.name)) && length(var.name) <= 24
    error_message = "name is \"${var.name}\": give at most 24 small letters, digits and single hyphens, a letter first. Load balancers and buckets allow no more."
  }
}

variable "network" {
  description = "VPC, its addresses (`cidr`: the load balancer's word on who a browser is, is believed from there) and subnets: the outputs of the module `network`, or your own. Private subnets need a way out (NAT) unless machines are in public ones."
  type = object({
    vpc_id             = string
    cidr               = string
    public_subnet_ids  = list(string)
    private_subnet_ids = list(string)
  })
}

variable "release" {
  description = "Where the Debian package of Streamfleet is (https:// or s3://), and its SHA-256."
  type = object({
    url    = string
    sha256 = string
  })
}

variable "app" {
  description = "The app: an `archive` in S3 (s3://BUCKET/KEY, .tar.gz or .zip), a `git` address over HTTPS, or an `image` that carries its files; `{revision}` in an archive's or image's name stands for the revision. `path` is its folder in there (of an image: /app), `script` the file to run."
  type = object({
    archive = optional(string)
    git     = optional(string)
    image   = optional(string)
    path    = optional(string, "")
    script  = optional(string, "streamlit_app.py")
  })

  validation {
    condition     = length([for source in [var.app.archive, var.app.git, var.app.image] : source if source != null]) == 1
    error_message = "app names ${length([for source in [var.app.archive, var.app.git, var.app.image] : source if source != null])} sources: give one of archive, git and image."
  }

  validation {
    condition     = var.app.archive == null || can(regex("^s3://[a-z0-9.-]+/[^\\s']+\\.(tar\\.gz|tgz|tar\\.xz|zip)$", var.app.archive))
    error_message = "app.archive is \"${coalesce(var.app.archive, "-")}\": give s3://BUCKET/KEY, ending in .tar.gz, .tgz, .tar.xz or .zip."
  }

  validation {
    condition     = var.app.git == null || can(regex("^https://[^\\s'@]+$", var.app.git))
    error_message = "app.git is \"${coalesce(var.app.git, "-")}\": give an https:// address without a login in it. For a private repository build an archive."
  }

  validation {
    condition     = var.app.image == null || can(regex("^[a-z0-9.-]+(:[0-9]+)?/[^\\s']+$", var.app.image))
    error_message = "app.image is \"${coalesce(var.app.image, "-")}\": give it with its registry, as in 123456789012.dkr.ecr.eu-central-1.amazonaws.com/app:{revision}."
  }

  validation {
    condition     = var.app.git != null || strcontains(coalesce(var.app.archive, var.app.image, "-"), "{revision}")
    error_message = "app.archive or app.image has no {revision} in it, so that all revisions would be the same files, and going back would not go back: write {revision} where it belongs in the name."
  }
}

variable "revision" {
  description = "What is deployed of the app: a branch, tag or hash for Git, else what `{revision}` stands for. Another one, applied, rolls the runners."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{1,64}$", var.revision))
    error_message = "revision is \"${var.revision}\": give at most 64 letters, digits, hyphens, dots or underscores."
  }
}

variable "domain" {
  description = "Name that browsers use."
  type        = string
}

variable "certificate_arn" {
  description = "Certificate for that name, in ACM and in the same region."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:acm:[a-z0-9-]+:\\d{12}:certificate/", var.certificate_arn))
    error_message = "certificate_arn is \"${var.certificate_arn}\": give the ARN of a certificate in ACM, arn:aws:acm:REGION:ACCOUNT:certificate/ID."
  }
}

variable "zone_id" {
  description = "Route 53 zone to put the name into; null to do it yourself."
  type        = string
  default     = null
}

variable "gateway" {
  description = "Gateways: size of a machine, how many, and more of Streamfleet's settings."
  type = object({
    instance_type = optional(string, "t3.small")
    size          = optional(object({ min = number, max = number }), { min = 2, max = 6 })
    settings      = optional(any, {})
  })
  default = {}
}

variable "shutdown" {
  description = "Seconds for which a gateway that is told to end serves on, and over which it then closes its browsers' connections: its settings `shutdown_notice` and `shutdown_spread`."
  type = object({
    notice = number
    spread = number
  })
  default = { notice = 15, spread = 10 }

  validation {
    condition     = var.shutdown.notice >= 0 && var.shutdown.spread >= 0 && var.shutdown.notice + var.shutdown.spread <= 3000
    error_message = "shutdown is ${jsonencode(var.shutdown)}: give seconds from 0, together at most 3000."
  }
}

variable "deregistration_delay" {
  description = "Seconds for which the load balancer leaves a gateway's connections alone once it is on its way out."
  type        = number
  default     = 60
}

variable "runner" {
  description = "Runners: sizes, how many, what they are held at, how they drain and roll, Spot, warm pool, more Debian packages and more of Streamfleet's settings. The module `runner` explains each."
  type = object({
    instance_types    = optional(list(string), ["m7i.large"])
    size              = optional(object({ min = number, max = number }), { min = 2, max = 10 })
    sessions          = optional(number, 200)
    queue_wait        = optional(number, 100)
    drain_limit       = optional(number, 120)
    terminate_timeout = optional(number, 300)
    launch_timeout    = optional(number, 900)
    roll_percent      = optional(number, 110)
    spot_percent      = optional(number, 0)
    on_demand_base    = optional(number, 1)
    warm_pool         = optional(object({ min = number, max_prepared = number }))
    disk_gib          = optional(number, 20)
    packages          = optional(list(string), [])
    settings          = optional(any, {})
  })
  default = {}
}

variable "redis" {
  description = "Redis: engine, size of a node, replicas in other zones, days of daily copies. The module `redis` explains each."
  type = object({
    engine        = optional(string, "redis")
    node_type     = optional(string, "cache.t4g.small")
    replicas      = optional(number, 1)
    snapshot_days = optional(number, 0)
  })
  default = {}
}

variable "traces" {
  description = "Traces: `own` for a machine with a collector and Jaeger, `given` for an OTLP endpoint of yours, `none`."
  type = object({
    mode          = string
    endpoint      = optional(string)
    instance_type = optional(string, "t3.small")
  })
  default = { mode = "none" }

  validation {
    condition     = contains(["own", "given", "none"], var.traces.mode) && (var.traces.mode == "given") == (var.traces.endpoint != null)
    error_message = "traces is ${jsonencode(var.traces)}: mode has to be own, given or none, and endpoint goes with given alone."
  }
}

variable "secret_versions" {
  description = "Raise one by one to rotate: the password of Redis, the cluster's secret, the admin token. The machines are then replaced."
  type = object({
    redis   = optional(number, 1)
    cluster = optional(number, 1)
    admin   = optional(number, 1)
  })
  default = {}
}

variable "mtls" {
  description = "Whether gateways and runners show each other certificates, which terraform/certificates makes."
  type        = bool
  default     = false
}

variable "machines_in_public_subnets" {
  description = "Whether machines are in public subnets, with addresses of their own. Nothing gets in by them, and there is no NAT gateway to pay for."
  type        = bool
  default     = false
}

variable "internal" {
  description = "Whether the load balancer is for the VPC and its peers only."
  type        = bool
  default     = false
}

variable "allowed_cidrs" {
  description = "Addresses that browsers may come from."
  type        = list(string)
  default     = ["0.0.0.0/0"]
}

variable "app_egress" {
  description = "What the app itself needs to reach beside HTTP and HTTPS: databases, for example."
  type        = list(object({ port = number, cidr = string }))
  default     = []
}

variable "base_path" {
  description = "Streamlit's `server.baseUrlPath` with a slash before it, or nothing."
  type        = string
  default     = ""
}

variable "image_id" {
  description = "Machine image; null for Debian's newest."
  type        = string
  default     = null
}

variable "root_device" {
  description = "Name of the image's root device."
  type        = string
  default     = "/dev/xvda"
}

variable "alarm_topics" {
  description = "SNS topics that hear of alarms."
  type        = list(string)
  default     = []
}

variable "log_days" {
  description = "Days to keep logs."
  type        = number
  default     = 30
}

variable "detailed_monitoring" {
  description = "Whether CPU is measured every minute rather than every five, for a fee."
  type        = bool
  default     = true
}

variable "deletion_protection" {
  description = "Whether AWS refuses to delete the load balancer."
  type        = bool
  default     = true
}

variable "recovery_days" {
  description = "Days for which deleted secrets can be brought back; with 0 they are gone at once."
  type        = number
  default     = 7
}

variable "access_log_bucket" {
  description = "Bucket for the load balancer's log; null for none."
  type        = string
  default     = null
}

variable "web_acl_arn" {
  description = "WAF rules to put in front; null for none."
  type        = string
  default     = null
}

variable "kms_key_arn" {
  description = "KMS key for secrets, logs, uploads and Redis; null for AWS' own keys."
  type        = string
  default     = null
}

variable "ebs_kms_key_arn" {
  description = "KMS key for the machines' volumes, which Auto Scaling's service role has to be allowed to use; null for EBS' own."
  type        = string
  default     = null
}
