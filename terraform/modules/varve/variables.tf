variable "name" {
  description = "Prefix of every resource's name; tells clusters of one account apart."
  type        = string
  default     = "varve"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,18}[a-z0-9]$", var.name))
    error_message = "name must have 2 to 20 characters: lower-case letters, digits and hyphens, a letter first."
  }
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}

# ---- network

variable "vpc_id" {
  description = "Existing VPC to use together with subnet_ids. Null creates one."
  type        = string
  default     = null
}

variable "subnet_ids" {
  description = "Private subnets of the existing VPC, one a zone, with a route to S3. Coordinators live in the first of them, one in each, and cannot move to other zones, as their volumes cannot."
  type        = list(string)
  default     = []

  validation {
    condition     = (var.vpc_id == null) == (length(var.subnet_ids) == 0)
    error_message = "vpc_id and subnet_ids go together: give both for an existing VPC, neither to have one created."
  }
}

variable "vpc_cidr" {
  description = "Network of the VPC to create."
  type        = string
  default     = "10.20.0.0/16"

  validation {
    condition     = can(cidrsubnet(var.vpc_cidr, 4, 7))
    error_message = "vpc_cidr must be an IPv4 network with room for subnets four bits longer, such as 10.20.0.0/16."
  }
}

variable "zone_count" {
  description = "Availability zones of the VPC to create."
  type        = number
  default     = 3

  validation {
    condition     = var.zone_count >= 1 && var.zone_count <= 6
    error_message = "zone_count must be between 1 and 6."
  }
}

variable "client_cidr_blocks" {
  description = "Private networks whose Kafka clients may connect. Varve has no TLS or authentication yet, so it must not be reachable from the Internet."
  type        = list(string)
  default     = []

  validation {
    condition = alltrue([for c in var.client_cidr_blocks :
      can(cidrnetmask(c)) && can(regex("^(10\\.|192\\.168\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|100\\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\\.)", c)) && try(tonumber(split("/", c)[1]), 0) >= 8
    ])
    error_message = "client_cidr_blocks must be private IPv4 networks (RFC 1918 or 100.64.0.0/10) of /8 or longer."
  }
}

variable "client_security_group_ids" {
  description = "Security groups whose members may connect as Kafka clients."
  type        = list(string)
  default     = []
}

variable "monitoring_security_group_ids" {
  description = "Security groups whose members may read /metrics and the health endpoints."
  type        = list(string)
  default     = []
}

# ---- bucket

variable "bucket_name" {
  description = "Bucket that holds everything durable."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name must be a valid S3 bucket name."
  }
}

variable "create_bucket" {
  description = "Create the bucket. False uses an existing one, whose versioning, encryption and public access are its owner's concern."
  type        = bool
  default     = true
}

variable "bucket_prefix" {
  description = "Key prefix of the cluster in the bucket; no slash at either end. Empty uses the whole bucket."
  type        = string
  default     = "varve"

  validation {
    condition     = var.bucket_prefix == "" || can(regex("^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", var.bucket_prefix))
    error_message = "bucket_prefix must be made of letters, digits, '_', '.', '-' and inner slashes."
  }
}

variable "kms_key_arn" {
  description = "KMS key for the bucket and the volumes. Null uses S3's own keys and the account's default EBS key. The key's policy has to let the service role of EC2 Auto Scaling use it, or no ingest or tiering instance starts."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a KMS key."
  }
}

# ---- software

variable "varve_binary_url" {
  description = "Where instances fetch the varve binary: s3://bucket/key in the same region (the roles get read access to that object) or https://. A VPC created here has no way out but to S3."
  type        = string

  validation {
    condition     = can(regex("^(s3://[a-z0-9][a-z0-9.-]+/[A-Za-z0-9._/+-]+|https://[A-Za-z0-9][A-Za-z0-9._:/?&=%+-]+)$", var.varve_binary_url))
    error_message = "varve_binary_url must be an s3:// or https:// URL with no characters that a shell would read."
  }
}

variable "varve_binary_sha256" {
  description = "SHA-256 of the binary, in hexadecimal; another file is refused at boot."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.varve_binary_sha256))
    error_message = "varve_binary_sha256 must be 64 lower-case hexadecimal digits."
  }
}

variable "architecture" {
  description = "CPU architecture of instances and binary: arm64 or x86_64."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture must be arm64 or x86_64."
  }
}

variable "ami_id" {
  description = "AMI of all instances; it needs bash, curl, systemd, xfsprogs and the AWS CLI. Null takes the latest Amazon Linux 2023."
  type        = string
  default     = null
}

variable "enable_session_manager" {
  description = "Let people open a shell through SSM Session Manager. In a VPC created here it also needs SSM's interface endpoints, which this module leaves out."
  type        = bool
  default     = false
}

variable "metalog" {
  description = "Where the metadata log lives: jetstream (a volume of each coordinator) or bucket (a PUT per commit, no disk)."
  type        = string
  default     = "jetstream"

  validation {
    condition     = contains(["jetstream", "bucket"], var.metalog)
    error_message = "metalog must be jetstream or bucket."
  }
}

# ---- sizes

variable "coordinator_count" {
  description = "Coordinators: 3, in three zones, of which any one may be lost, or 1. It is decided when the cluster is made: their list is part of every process's configuration and, with metalog jetstream, of where the log is."
  type        = number
  default     = 3

  validation {
    condition     = contains([1, 3], var.coordinator_count)
    error_message = "coordinator_count must be 1 or 3."
  }

  validation {
    condition     = (var.vpc_id == null ? var.zone_count : length(var.subnet_ids)) >= var.coordinator_count
    error_message = "three coordinators need three zones: zone_count, or subnet_ids, of at least 3."
  }
}

variable "coordinator_instance_type" {
  description = "Instance type of coordinators."
  type        = string
  default     = "m7g.large"
}

variable "coordinator_volume_size_gib" {
  description = "Size of each coordinator's persistent volume. With metalog bucket there is none."
  type        = number
  default     = 20

  validation {
    condition     = var.coordinator_volume_size_gib >= 4
    error_message = "coordinator_volume_size_gib must be at least 4."
  }
}

variable "coordinator_private_ips" {
  description = "Addresses of the coordinators in their subnets, in order. Empty lets AWS choose; they stay the same for the life of the cluster either way."
  type        = list(string)
  default     = []

  validation {
    condition     = contains([0, var.coordinator_count], length(var.coordinator_private_ips))
    error_message = "coordinator_private_ips must be empty or name one address for each coordinator."
  }

  validation {
    condition     = alltrue([for a in var.coordinator_private_ips : can(cidrnetmask("${a}/32"))]) && length(distinct(var.coordinator_private_ips)) == length(var.coordinator_private_ips)
    error_message = "coordinator_private_ips must be IPv4 addresses, each once."
  }
}

variable "ingest_instance_type" {
  description = "Instance type of ingest nodes."
  type        = string
  default     = "c7g.xlarge"
}

variable "ingest_count" {
  description = "Ingest nodes: the smallest, the wanted and the largest number."
  type        = object({ min = number, desired = number, max = number })
  default     = { min = 2, desired = 3, max = 6 }

  validation {
    condition     = var.ingest_count.min >= 0 && var.ingest_count.min <= var.ingest_count.desired && var.ingest_count.desired <= var.ingest_count.max
    error_message = "ingest_count must have 0 <= min <= desired <= max."
  }
}

variable "ingest_volume" {
  description = "The hot log's gp3 volume on each ingest node. It goes with its instance: see the README on the durability class local."
  type        = object({ size_gib = number, iops = number, throughput_mib = number })
  default     = { size_gib = 50, iops = 3000, throughput_mib = 250 }

  validation {
    condition     = var.ingest_volume.size_gib >= 8 && var.ingest_volume.iops >= 3000 && var.ingest_volume.throughput_mib >= 125
    error_message = "ingest_volume must have size_gib >= 8, iops >= 3000 and throughput_mib >= 125, which are gp3's floors."
  }
}

variable "ingest_drain_seconds" {
  description = "How long an ingest node that is to go may take to send its clients elsewhere and to have shipped what is on its disk. Its instance is kept that long, and 90 s more, after the autoscaling group has chosen it."
  type        = number
  default     = 300

  validation {
    condition     = var.ingest_drain_seconds >= 10 && var.ingest_drain_seconds <= 7000 && floor(var.ingest_drain_seconds) == var.ingest_drain_seconds
    error_message = "ingest_drain_seconds must be a whole number from 10 to 7000."
  }
}

variable "tiering_instance_type" {
  description = "Instance type of tiering workers."
  type        = string
  default     = "c7g.large"
}

variable "tiering_count" {
  description = "Tiering workers: the smallest, the wanted and the largest number. With none, hot logs are not shipped and fill up."
  type        = object({ min = number, desired = number, max = number })
  default     = { min = 1, desired = 1, max = 4 }

  validation {
    condition     = var.tiering_count.min >= 0 && var.tiering_count.min <= var.tiering_count.desired && var.tiering_count.desired <= var.tiering_count.max
    error_message = "tiering_count must have 0 <= min <= desired <= max."
  }
}
