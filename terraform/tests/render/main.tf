# Renders the module's user data for a machine that plays all three instances:
# the coordinator's address is on loopback, the others' come from a metadata
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

  bucket_name            = "example-varve-log"
  varve_binary_url       = "s3://example-artifacts/varve"
  varve_binary_sha256    = "0000000000000000000000000000000000000000000000000000000000000000"
  coordinator_private_ip = "127.0.31.1"
}

output "user_data" {
  description = "User data of each role."
  value       = module.varve.user_data
}
