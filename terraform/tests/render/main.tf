# Renders the module's user data for a machine that plays all instances: the
# coordinators' addresses are on loopback, the others' come from a metadata
# server that userdata_test.sh runs.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.25, < 7.0"
    }
  }
}

module "varve" {
  source = "../../modules/varve"

  bucket_name             = "example-varve-log"
  varve_binary_url        = "s3://example-artifacts/varve"
  varve_binary_sha256     = "0000000000000000000000000000000000000000000000000000000000000000"
  coordinator_private_ips = ["127.0.31.1", "127.0.31.2", "127.0.31.3"]
  ingest_drain_seconds    = 20
}

output "user_data" {
  description = "User data of each coordinator and of the other roles."
  value       = module.varve.user_data
}
