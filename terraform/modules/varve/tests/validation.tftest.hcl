# What is refused before anything is planned.

variables {
  bucket_name         = "test-varve-log"
  varve_binary_url    = "s3://test-artifacts/varve"
  varve_binary_sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
}

run "clients_from_everywhere" {
  command = plan

  variables {
    client_cidr_blocks = ["10.0.0.0/8", "0.0.0.0/0"]
  }

  expect_failures = [var.client_cidr_blocks]
}

run "clients_from_a_public_network" {
  command = plan

  variables {
    client_cidr_blocks = ["203.0.113.0/24"]
  }

  expect_failures = [var.client_cidr_blocks]
}

run "clients_from_a_network_wider_than_private" {
  command = plan

  variables {
    client_cidr_blocks = ["10.0.0.0/4"]
  }

  expect_failures = [var.client_cidr_blocks]
}

run "vpc_without_subnets" {
  command = plan

  variables {
    vpc_id = "vpc-0123456789abcdef0"
  }

  expect_failures = [var.subnet_ids]
}

run "subnets_without_vpc" {
  command = plan

  variables {
    subnet_ids = ["subnet-0aaaaaaaaaaaaaaaa"]
  }

  expect_failures = [var.subnet_ids]
}

run "binary_over_plain_http" {
  command = plan

  variables {
    varve_binary_url = "http://example.org/varve"
  }

  expect_failures = [var.varve_binary_url]
}

run "binary_url_with_shell_in_it" {
  command = plan

  variables {
    varve_binary_url = "https://example.org/$(reboot)"
  }

  expect_failures = [var.varve_binary_url]
}

run "short_checksum" {
  command = plan

  variables {
    varve_binary_sha256 = "9f86d081"
  }

  expect_failures = [var.varve_binary_sha256]
}

run "prefix_with_a_trailing_slash" {
  command = plan

  variables {
    bucket_prefix = "varve/"
  }

  expect_failures = [var.bucket_prefix]
}

run "bucket_name_in_capitals" {
  command = plan

  variables {
    bucket_name = "Varve"
  }

  expect_failures = [var.bucket_name]
}

run "name_that_is_too_long" {
  command = plan

  variables {
    name = "a-name-that-is-much-too-long"
  }

  expect_failures = [var.name]
}

run "unknown_architecture" {
  command = plan

  variables {
    architecture = "riscv64"
  }

  expect_failures = [var.architecture]
}

run "unknown_metalog" {
  command = plan

  variables {
    metalog = "raft"
  }

  expect_failures = [var.metalog]
}

run "more_wanted_than_allowed" {
  command = plan

  variables {
    ingest_count = { min = 2, desired = 9, max = 6 }
  }

  expect_failures = [var.ingest_count]
}

run "volume_slower_than_gp3_goes" {
  command = plan

  variables {
    ingest_volume = { size_gib = 50, iops = 100, throughput_mib = 125 }
  }

  expect_failures = [var.ingest_volume]
}

run "network_without_room" {
  command = plan

  variables {
    vpc_cidr = "10.20.0.0/30"
  }

  expect_failures = [var.vpc_cidr]
}
