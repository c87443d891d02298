# A cluster with nothing but what has no default. The stub invents what AWS
# would compute, so that references can be followed in a plan.

variables {
  bucket_name         = "test-varve-log"
  varve_binary_url    = "s3://test-artifacts/builds/varve"
  varve_binary_sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
  client_cidr_blocks  = ["10.20.0.0/16"]
}

run "network" {
  command = plan

  assert {
    condition     = length(aws_subnet.private) == 3 && length(distinct(aws_subnet.private[*].availability_zone)) == 3
    error_message = "one private subnet a zone"
  }
  assert {
    condition     = length(distinct(aws_subnet.private[*].cidr_block)) == 3 && alltrue([for s in aws_subnet.private : s.map_public_ip_on_launch == false])
    error_message = "subnets do not overlap and give no public addresses"
  }
  assert {
    condition     = aws_lb.kafka.internal && aws_lb.kafka.load_balancer_type == "network"
    error_message = "the balancer is internal"
  }
  assert {
    condition     = aws_lb_listener.kafka.port == 9092 && aws_lb_target_group.kafka.health_check[0].path == "/readyz"
    error_message = "the balancer passes Kafka to nodes that are ready"
  }
  assert {
    condition     = length(aws_vpc_endpoint.s3) == 1 && aws_vpc_endpoint.s3[0].vpc_endpoint_type == "Gateway"
    error_message = "S3 is reached through a gateway endpoint"
  }
}

run "no_public_ingress" {
  command = plan

  assert {
    condition = alltrue([for r in concat(values(aws_vpc_security_group_ingress_rule.client_network), values(aws_vpc_security_group_ingress_rule.client_group), values(aws_vpc_security_group_ingress_rule.monitoring), values(aws_vpc_security_group_ingress_rule.between_roles)) :
      r.cidr_ipv6 == null && (r.cidr_ipv4 == null || r.cidr_ipv4 == "10.20.0.0/16") && r.ip_protocol == "tcp" && r.from_port == r.to_port
    ])
    error_message = "every ingress rule is one TCP port, from a group or from the clients' network"
  }
  assert {
    condition     = alltrue([for r in values(aws_vpc_security_group_ingress_rule.between_roles) : r.cidr_ipv4 == null && r.referenced_security_group_id != null])
    error_message = "roles reach each other by group, not by address"
  }
  assert {
    condition     = toset([for r in values(aws_vpc_security_group_ingress_rule.between_roles) : r.from_port if r.security_group_id == aws_security_group.role["coordinator"].id]) == toset([4222, 6222, 9644])
    error_message = "coordinators listen on NATS, its routes and the internal port alone"
  }
  assert {
    condition     = [for r in values(aws_vpc_security_group_ingress_rule.between_roles) : r.referenced_security_group_id if r.from_port == 6222] == [aws_security_group.role["coordinator"].id]
    error_message = "coordinators alone reach each other's NATS routes"
  }
  assert {
    condition     = toset(keys(aws_vpc_security_group_ingress_rule.between_roles)) == toset(keys(aws_vpc_security_group_egress_rule.between_roles))
    error_message = "what one role may take from another, that one may send"
  }
  assert {
    condition     = length([for r in values(aws_vpc_security_group_ingress_rule.between_roles) : r if r.security_group_id == aws_security_group.role["tiering"].id]) == 0
    error_message = "nobody connects to a tiering worker"
  }
  assert {
    condition     = toset([for r in values(aws_vpc_security_group_ingress_rule.client_network) : r.from_port]) == toset([9092])
    error_message = "clients reach the Kafka port alone"
  }
  assert {
    condition     = alltrue([for r in values(aws_vpc_security_group_egress_rule.https) : r.cidr_ipv4 == null && r.prefix_list_id != null])
    error_message = "the only way out of a created VPC is to S3"
  }
}

run "volumes" {
  command = plan

  assert {
    condition     = alltrue([for v in values(aws_ebs_volume.coordinator) : v.encrypted && v.type == "gp3"]) && keys(aws_ebs_volume.coordinator) == ["1", "2", "3"]
    error_message = "each coordinator's volume is an encrypted gp3"
  }
  assert {
    condition     = alltrue([for number, a in aws_volume_attachment.coordinator : a.volume_id == aws_ebs_volume.coordinator[number].id && a.instance_id == aws_instance.coordinator[number].id])
    error_message = "each coordinator has its own volume attached"
  }
  assert {
    condition = alltrue([for i, number in ["1", "2", "3"] :
      aws_ebs_volume.coordinator[number].availability_zone == aws_subnet.private[i].availability_zone && aws_network_interface.coordinator[number].subnet_id == aws_subnet.private[i].id
    ])
    error_message = "a coordinator's volume and network interface are in one zone, each coordinator's in another"
  }
  assert {
    condition     = alltrue([for d in concat(aws_launch_template.ingest.block_device_mappings, aws_launch_template.tiering.block_device_mappings) : d.ebs[0].encrypted == "true"])
    error_message = "volumes of ingest and tiering instances are encrypted"
  }
  assert {
    condition     = alltrue([for i in values(aws_instance.coordinator) : i.root_block_device[0].encrypted])
    error_message = "the coordinators' root volumes are encrypted"
  }
}

run "instances" {
  command = plan

  assert {
    condition     = alltrue([for m in concat([for i in values(aws_instance.coordinator) : i.metadata_options[0]], [aws_launch_template.ingest.metadata_options[0], aws_launch_template.tiering.metadata_options[0]]) : m.http_tokens == "required" && m.http_put_response_hop_limit == 1])
    error_message = "metadata needs a session token (IMDSv2) and is not reached through a hop"
  }
  assert {
    condition     = alltrue([for i in values(aws_instance.coordinator) : i.iam_instance_profile == aws_iam_instance_profile.this["coordinator"].name]) && aws_launch_template.ingest.iam_instance_profile[0].name == aws_iam_instance_profile.this["ingest"].name && aws_launch_template.tiering.iam_instance_profile[0].name == aws_iam_instance_profile.this["tiering"].name
    error_message = "each role has its own profile"
  }
  assert {
    condition     = aws_launch_template.ingest.vpc_security_group_ids == toset([aws_security_group.role["ingest"].id]) && aws_launch_template.tiering.vpc_security_group_ids == toset([aws_security_group.role["tiering"].id]) && alltrue([for n in values(aws_network_interface.coordinator) : n.security_groups == toset([aws_security_group.role["coordinator"].id])])
    error_message = "each role is in its own security group and no other"
  }
  assert {
    condition     = aws_autoscaling_group.ingest.min_size == 2 && aws_autoscaling_group.ingest.health_check_type == "EC2" && aws_autoscaling_group.ingest.target_group_arns == toset([aws_lb_target_group.kafka.arn])
    error_message = "ingest nodes are registered with the balancer, and not replaced, with their disks, because they are not ready"
  }
  assert {
    condition     = alltrue([for u in values(output.user_data) : length(u) < 16384])
    error_message = "user data fits EC2's 16 KiB"
  }
  assert {
    condition     = alltrue([for number, a in aws_cloudwatch_metric_alarm.coordinator : a.dimensions.InstanceId == aws_instance.coordinator[number].id && a.alarm_actions == toset(["arn:aws:automate:eu-central-1:ec2:reboot"])])
    error_message = "a coordinator whose operating system hangs is started again"
  }
  assert {
    condition     = alltrue([for u in values(output.user_data) : strcontains(u, "s3://test-varve-log/varve?region=") && strcontains(u, var.varve_binary_sha256)])
    error_message = "every role is told the bucket and the binary's checksum"
  }
}

run "bucket" {
  command = plan

  assert {
    condition     = aws_s3_bucket_public_access_block.this[0].block_public_acls && aws_s3_bucket_public_access_block.this[0].block_public_policy && aws_s3_bucket_public_access_block.this[0].ignore_public_acls && aws_s3_bucket_public_access_block.this[0].restrict_public_buckets
    error_message = "public access is blocked in all four ways"
  }
  assert {
    condition     = aws_s3_bucket_versioning.this[0].versioning_configuration[0].status == "Disabled" && aws_s3_bucket.this[0].force_destroy == false
    error_message = "no versions, and no deletion of a bucket that holds data"
  }
  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.this[0].rule).apply_server_side_encryption_by_default).sse_algorithm == "AES256"
    error_message = "objects are encrypted at rest"
  }
  assert {
    condition     = length(aws_s3_bucket_lifecycle_configuration.this[0].rule) == 1 && aws_s3_bucket_lifecycle_configuration.this[0].rule[0].abort_incomplete_multipart_upload[0].days_after_initiation == 2 && length(aws_s3_bucket_lifecycle_configuration.this[0].rule[0].expiration) == 0
    error_message = "the lifecycle aborts multipart leftovers and expires nothing"
  }
  assert {
    condition     = jsondecode(aws_s3_bucket_policy.this[0].policy).Statement[0].Effect == "Deny"
    error_message = "plain HTTP is refused"
  }
}
