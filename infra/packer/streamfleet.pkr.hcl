# A machine image for AWS with Streamfleet and the app's Python packages in it, so that machines come up without asking anybody but Secrets Manager and S3.
#
#   packer init infra/packer
#   packer build -var region=eu-central-1 -var package=target/debian/streamfleet_0.1.0_amd64.deb -var requirements=/path/to/requirements.txt infra/packer
#
# It is for both roles; give its id to Terraform as image_id. What is done on the machine is in the script `install` beside this file.

packer {
  required_version = ">= 1.11.0"
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.3.3"
    }
  }
}

variable "region" {
  type        = string
  description = "Where the image is made, and to be used."
}

variable "package" {
  type        = string
  description = "The Debian package (infra/debian/build), for amd64 and built with the feature aws."
  validation {
    condition     = can(regex("_amd64\\.deb$", var.package))
    error_message = "The image is for amd64: name a package whose name ends in _amd64.deb."
  }
}

variable "requirements" {
  type        = string
  default     = ""
  description = "The app's requirements.txt, with versions. Without it, Streamlit alone, in the version that the tests run with."
}

variable "instance_type" {
  type        = string
  default     = "t3.small"
  description = "The machine that it is made on."
}

variable "subnet_id" {
  type        = string
  default     = null
  description = "A subnet with a way to Debian's mirrors and PyPI; null for the default VPC's."
}

source "amazon-ebs" "debian" {
  region        = var.region
  instance_type = var.instance_type
  subnet_id     = var.subnet_id
  ami_name      = "streamfleet-${formatdate("YYYYMMDD-hhmmss", timestamp())}"
  ssh_username  = "admin"

  temporary_key_pair_type = "ed25519"

  source_ami_filter {
    filters = {
      name                = "debian-12-amd64-*"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    # Debian itself: https://wiki.debian.org/Cloud/AmazonEC2Image
    owners      = ["136693071363"]
    most_recent = true
  }

  # Metadata by session token only: on the machine that it is made on, and then on those that are made of it.
  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
  }
  imds_support = "v2.0"

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_type           = "gp3"
    volume_size           = 8
    delete_on_termination = true
  }

  tags = {
    Name   = "streamfleet"
    Base   = "{{ .SourceAMIName }}"
    Source = basename(var.package)
  }
}

build {
  sources = ["source.amazon-ebs.debian"]

  # Debian's own first start has to be over before apt is free.
  provisioner "shell" {
    inline = ["sudo cloud-init status --wait"]
  }

  provisioner "file" {
    source      = var.package
    destination = "/tmp/streamfleet.deb"
  }

  provisioner "file" {
    source      = var.requirements == "" ? "${path.root}/requirements.txt" : var.requirements
    destination = "/tmp/requirements.txt"
  }

  provisioner "shell" {
    script          = "${path.root}/install"
    execute_command = "sudo bash {{ .Path }} /tmp/streamfleet.deb /tmp/requirements.txt"
  }
}
