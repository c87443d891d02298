# A VPC and a bucket that were there before.

variables {
  vpc_id                    = "vpc-0123456789abcdef0"
  subnet_ids                = ["subnet-0aaaaaaaaaaaaaaaa", "subnet-0bbbbbbbbbbbbbbbb", "subnet-0cccccccccccccccc"]
  bucket_name               = "shared-bucket"
  create_bucket             = false
  varve_binary_url          = "s3://test-artifacts/varve"
  varve_binary_sha256       = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
  client_security_group_ids = ["sg-0clients000000000"]
}

run "nothing_is_created_beside_them" {
  command = plan

  assert {
    condition     = length(aws_vpc.this) == 0 && length(aws_subnet.private) == 0 && length(aws_route_table.private) == 0 && length(aws_vpc_endpoint.s3) == 0
    error_message = "no network is created"
  }
  assert {
    condition     = length(aws_s3_bucket.this) == 0 && length(aws_s3_bucket_policy.this) == 0 && length(aws_s3_bucket_lifecycle_configuration.this) == 0
    error_message = "the bucket is left alone"
  }
}

run "they_are_used" {
  command = plan

  assert {
    condition     = tolist([for n in values(aws_network_interface.coordinator) : n.subnet_id]) == var.subnet_ids && aws_autoscaling_group.ingest.vpc_zone_identifier == toset(var.subnet_ids) && aws_autoscaling_group.tiering.vpc_zone_identifier == toset(var.subnet_ids) && aws_lb.kafka.subnets == toset(var.subnet_ids)
    error_message = "instances and balancer are in the given subnets"
  }
  assert {
    condition     = alltrue([for g in values(aws_security_group.role) : g.vpc_id == var.vpc_id]) && aws_lb_target_group.kafka.vpc_id == var.vpc_id
    error_message = "security groups and targets are in the given VPC"
  }
  assert {
    condition     = [for v in values(aws_ebs_volume.coordinator) : v.availability_zone] == ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
    error_message = "each coordinator's volume is in its subnet's zone"
  }
  assert {
    condition     = toset([for r in values(aws_vpc_security_group_ingress_rule.client_group) : r.security_group_id]) == toset([aws_security_group.role["ingest"].id, aws_security_group.role["balancer"].id]) && alltrue([for r in values(aws_vpc_security_group_ingress_rule.client_group) : r.referenced_security_group_id == "sg-0clients000000000" && r.from_port == 9092])
    error_message = "the clients' group reaches the balancer and the nodes on the Kafka port"
  }
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.client_network) == 0
    error_message = "no network is let in"
  }
  assert {
    condition     = startswith(output.bucket, "s3://shared-bucket/varve?region=")
    error_message = "the given bucket is used"
  }
}

run "two_subnets_of_one_zone" {
  command = plan

  variables {
    subnet_ids = ["subnet-0aaaaaaaaaaaaaaaa", "subnet-0bbbbbbbbbbbbbbbb", "subnet-1bbbbbbbbbbbbbbbb"]
  }

  expect_failures = [aws_network_interface.coordinator]
}

run "two_subnets_for_three_coordinators" {
  command = plan

  variables {
    subnet_ids = ["subnet-0aaaaaaaaaaaaaaaa", "subnet-0bbbbbbbbbbbbbbbb"]
  }

  expect_failures = [var.coordinator_count]
}

run "one_coordinator_in_two_subnets" {
  command = plan

  variables {
    subnet_ids        = ["subnet-0aaaaaaaaaaaaaaaa", "subnet-0bbbbbbbbbbbbbbbb"]
    coordinator_count = 1
  }

  assert {
    condition     = [for n in values(aws_network_interface.coordinator) : n.subnet_id] == ["subnet-0aaaaaaaaaaaaaaaa"]
    error_message = "one coordinator lives in the first subnet"
  }
}
