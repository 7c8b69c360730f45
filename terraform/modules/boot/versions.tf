# What this module is written for. It makes nothing and needs no provider: it only writes user data.
terraform {
  required_version = ">= 1.11"
}
