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

variable "runner_type" {
  description = "Size of a runner. Streamlit and pandas alone take some 200 MB a worker, and there is a worker a core."
  type        = string
  default     = "t3.small"
}

variable "image_id" {
  description = "Machine image; null for Debian's newest, whose next one is taken by whichever apply comes after it, and replaces all machines."
  type        = string
  default     = null
}
