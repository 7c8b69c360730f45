# What has to be decided for one's own cluster; what must be given comes first.

variable "region" {
  description = "Region of AWS."
  type        = string
}

variable "release" {
  description = "Where the Debian package of Streamfleet is (https:// or s3://), and its SHA-256."
  type = object({
    url    = string
    sha256 = string
  })
}

variable "app" {
  description = "The app: an `archive` in S3, a `git` address or an `image`, with its `path` in there and the `script` to run (terraform/modules/cluster)."
  type = object({
    archive = optional(string)
    git     = optional(string)
    image   = optional(string)
    path    = optional(string, "")
    script  = optional(string, "streamlit_app.py")
  })
}

variable "revision" {
  description = "What is deployed of the app. Another one, applied, rolls the runners."
  type        = string
}

variable "domain" {
  description = "Name that browsers use."
  type        = string
}

variable "certificate_arn" {
  description = "Certificate for that name, in ACM and in the same region."
  type        = string
}

variable "zone_id" {
  description = "Route 53 zone to put the name into; null to do it yourself."
  type        = string
  default     = null
}

variable "name" {
  description = "Name of the cluster, which everything carries."
  type        = string
  default     = "streamfleet"
}

variable "network" {
  description = "A VPC of yours, with subnets in three zones and a way out of the private ones; null for a new one."
  type = object({
    vpc_id             = string
    cidr               = string
    public_subnet_ids  = list(string)
    private_subnet_ids = list(string)
  })
  default = null
}

variable "gateway_type" {
  description = "Size of a gateway."
  type        = string
  default     = "t3.small"
}

variable "gateways" {
  description = "Fewest and most gateways."
  type        = object({ min = number, max = number })
  default     = { min = 3, max = 9 }
}

variable "runner_types" {
  description = "Sizes of a runner; more than the first are for Spot."
  type        = list(string)
  default     = ["m7i.large"]
}

variable "runners" {
  description = "Fewest and most runners."
  type        = object({ min = number, max = number })
  default     = { min = 3, max = 12 }
}

variable "sessions_per_runner" {
  description = "Connected sessions a runner that their number is held at. Measure your app."
  type        = number
  default     = 200
}

variable "spot_percent" {
  description = "Share of runners above the first three that are Spot machines. Needs a drain_limit of 100 or less and two runner_types."
  type        = number
  default     = 0
}

variable "drain_limit" {
  description = "Seconds that a runner may take to hand its sessions over."
  type        = number
  default     = 120
}

variable "redis_type" {
  description = "Size of a node of Redis, of which there are three."
  type        = string
  default     = "cache.m7g.large"
}

variable "traces" {
  description = "Traces: `own` for a machine with a collector and Jaeger, `given` for an OTLP endpoint of yours, `none`."
  type = object({
    mode          = string
    endpoint      = optional(string)
    instance_type = optional(string, "t3.small")
  })
  default = { mode = "own" }
}

variable "mtls" {
  description = "Whether gateways and runners show each other certificates, which terraform/certificates makes."
  type        = bool
  default     = false
}

variable "secret_versions" {
  description = "Raise one by one to rotate: the password of Redis, the cluster's secret, the admin token."
  type = object({
    redis   = optional(number, 1)
    cluster = optional(number, 1)
    admin   = optional(number, 1)
  })
  default = {}
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

variable "alarm_topics" {
  description = "SNS topics that hear of alarms. Without one, nobody does."
  type        = list(string)
  default     = []
}

variable "kms_key_arn" {
  description = "KMS key for secrets, logs, uploads and Redis; null for AWS' own keys."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Whether AWS refuses to delete the load balancer. Apply with false before tearing down."
  type        = bool
  default     = true
}

variable "image_id" {
  description = "Machine image; null for Debian's newest, whose next one is taken by whichever apply comes after it, and replaces all machines."
  type        = string
  default     = null
}
