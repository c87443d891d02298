# One cluster in one region: a VPC of its own over three zones, a bucket,
# three coordinators, three ingest nodes, one tiering worker.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.25, < 7.0"
    }
  }
}

provider "aws" {
  region = var.region
}

variable "region" {
  description = "AWS region."
  type        = string
  default     = "eu-central-1"
}

variable "bucket_name" {
  description = "Name of the bucket to create; bucket names are global."
  type        = string
}

variable "varve_binary_url" {
  description = "s3:// URL of the varve binary for linux/arm64, in the same region."
  type        = string
}

variable "varve_binary_sha256" {
  description = "SHA-256 of that binary."
  type        = string
}

module "varve" {
  source = "../../modules/varve"

  name                = "varve"
  bucket_name         = var.bucket_name
  varve_binary_url    = var.varve_binary_url
  varve_binary_sha256 = var.varve_binary_sha256
  client_cidr_blocks  = ["10.20.0.0/16"] # the VPC itself; add the networks it is peered with

  tags = { service = "varve" }
}

output "coordinator_addresses" {
  description = "Addresses of the coordinators, by their numbers."
  value       = module.varve.coordinator_addresses
}

output "bootstrap_address" {
  description = "bootstrap.servers for Kafka clients."
  value       = module.varve.bootstrap_address
}

output "bucket" {
  description = "The bucket, as --bucket takes it."
  value       = module.varve.bucket
}
