# Three coordinators or one, with or without a disk, and what the other roles are told of them.

variables {
  bucket_name             = "test-varve-log"
  varve_binary_url        = "s3://test-artifacts/builds/varve"
  varve_binary_sha256     = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
  coordinator_private_ips = ["10.20.0.10", "10.20.16.10", "10.20.32.10"]
}

run "three" {
  command = plan

  assert {
    condition     = output.peers == "1=10.20.0.10:9644:6222,2=10.20.16.10:9644:6222,3=10.20.32.10:9644:6222"
    error_message = "peers are all coordinators with their internal and route ports"
  }
  assert {
    condition     = alltrue([for u in values(output.user_data) : strcontains(u, "VARVE_COORDINATORS:=${output.peers}}")])
    error_message = "every process is told the same list"
  }
  assert {
    condition     = alltrue([for number in ["1", "2", "3"] : strcontains(output.user_data["coordinator-${number}"], "VARVE_COORDINATOR_NUMBER:=${number}}")])
    error_message = "each coordinator is told its own number"
  }
  assert {
    condition     = alltrue([for role in ["ingest", "tiering"] : strcontains(output.user_data[role], "VARVE_COORDINATOR_NATS:=nats://10.20.0.10:4222,nats://10.20.16.10:4222,nats://10.20.32.10:4222}")])
    error_message = "ingest and tiering are told all NATS servers"
  }
  assert {
    condition     = alltrue([for number, i in aws_instance.coordinator : i.user_data_base64 == base64encode(output.user_data["coordinator-${number}"]) && i.primary_network_interface[0].network_interface_id == aws_network_interface.coordinator[number].id])
    error_message = "each coordinator runs its own user data on its own network interface"
  }
}

run "without_a_disk" {
  command = plan

  variables {
    metalog = "bucket"
  }

  assert {
    condition     = length(aws_ebs_volume.coordinator) == 0 && length(aws_volume_attachment.coordinator) == 0 && length(aws_instance.coordinator) == 3
    error_message = "metadata in the bucket needs no volume"
  }
  assert {
    condition     = alltrue([for number in ["1", "2", "3"] : strcontains(output.user_data["coordinator-${number}"], "VARVE_DATA_DEVICE:=}")])
    error_message = "no coordinator waits for a volume"
  }
}

run "one" {
  command = plan

  variables {
    coordinator_count       = 1
    coordinator_private_ips = ["10.20.0.10"]
    zone_count              = 1
  }

  assert {
    condition     = length(aws_instance.coordinator) == 1 && length(aws_ebs_volume.coordinator) == 1
    error_message = "one coordinator with its volume"
  }
  assert {
    condition     = output.peers == "" && alltrue([for u in values(output.user_data) : strcontains(u, "VARVE_COORDINATORS:=}")]) && strcontains(output.user_data["coordinator-1"], "VARVE_COORDINATOR_NUMBER:=}")
    error_message = "one coordinator is in no group"
  }
  assert {
    condition     = !contains([for r in values(aws_vpc_security_group_ingress_rule.between_roles) : r.from_port], 6222)
    error_message = "nobody reaches NATS routes where there are none"
  }
}

run "ingest_nodes_are_given_time_to_drain" {
  command = plan

  variables {
    ingest_drain_seconds = 120
  }

  assert {
    condition     = aws_autoscaling_lifecycle_hook.drain.lifecycle_transition == "autoscaling:EC2_INSTANCE_TERMINATING" && aws_autoscaling_lifecycle_hook.drain.autoscaling_group_name == aws_autoscaling_group.ingest.name && aws_autoscaling_lifecycle_hook.drain.default_result == "CONTINUE"
    error_message = "the group waits before it ends an ingest node, and ends it then"
  }
  assert {
    condition     = strcontains(output.user_data["ingest"], "VARVE_DRAIN_SECONDS:=120}") && strcontains(output.user_data["ingest"], "VARVE_STOP_SECONDS:=180}") && aws_autoscaling_lifecycle_hook.drain.heartbeat_timeout > 180
    error_message = "systemd waits for longer than draining takes, and the group for longer than systemd"
  }
}

run "two_coordinators" {
  command = plan

  variables {
    coordinator_count       = 2
    coordinator_private_ips = []
  }

  expect_failures = [var.coordinator_count]
}

run "three_in_two_zones" {
  command = plan

  variables {
    zone_count = 2
  }

  expect_failures = [var.coordinator_count]
}

run "two_addresses_for_three" {
  command = plan

  variables {
    coordinator_private_ips = ["10.20.0.10", "10.20.16.10"]
  }

  expect_failures = [var.coordinator_private_ips]
}

run "one_address_twice" {
  command = plan

  variables {
    coordinator_private_ips = ["10.20.0.10", "10.20.0.10", "10.20.32.10"]
  }

  expect_failures = [var.coordinator_private_ips]
}

run "a_drain_longer_than_a_group_waits" {
  command = plan

  variables {
    ingest_drain_seconds = 7200
  }

  expect_failures = [var.ingest_drain_seconds]
}
