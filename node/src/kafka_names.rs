//! The values of RustMQ's own settings under the names of Kafka's broker-wide configs.
//! DescribeConfigs shows the value in force, and whether it was set. The broker adds its numeric
//! id, which the controller assigns.

use rustmq_controller_core::configs::StaticConfigs;

use crate::config::Config;

/// The values that the process derives at its start.
#[derive(Clone, Copy, Debug)]
pub struct WorkedOut {
    pub shards: usize,
    pub connection_threads: usize,
    /// The most connections that the process accepts, without Kafka's `max.connections`.
    pub connections_max: usize,
}

/// The `[kafka]` section, with the values of our settings that replace some of its configs.
pub fn static_configs(config: &Config, process: WorkedOut) -> StaticConfigs {
    let WorkedOut { shards, connection_threads, connections_max } = process;
    let mut kafka = StaticConfigs::from(config.kafka.clone());
    let data_dir = config.process.data_dir.display().to_string();
    let plaintext = |address: &str| format!("PLAINTEXT://{address}");
    let ruled = [
        (
            "advertised.listeners",
            "network.kafka_advertised",
            config.gateway.advertised.as_ref().map(|advertised| plaintext(&advertised.to_string())),
        ),
        ("broker.rack", "broker.rack_id", config.broker.rack.clone()),
        ("listeners", "network.kafka_listen", Some(plaintext(&config.gateway.listen.to_string()))),
        ("log.dir", "data_dir", Some(data_dir.clone())),
        ("log.dirs", "data_dir", Some(data_dir)),
        ("num.io.threads", "engine.shards", Some(shards.to_string())),
    ];
    for (name, setting, value) in ruled {
        let layer = if config.given.contains(setting) { &mut kafka.set } else { &mut kafka.own };
        layer.extend(value.map(|value| (name.to_owned(), value)));
    }
    kafka.own.insert("num.network.threads".to_owned(), connection_threads.to_string());
    bound_connections(&mut kafka, connections_max, config.given.contains("network.max_connections"));
    kafka
}

/// Kafka's config and our setting both bound the connections: the lower bound is in force.
fn bound_connections(kafka: &mut StaticConfigs, most: usize, is_set: bool) {
    const NAME: &str = "max.connections";
    match kafka.set.get(NAME).and_then(|value| value.parse::<usize>().ok()) {
        Some(set) if set <= most => {}
        None if !is_set => {
            kafka.own.insert(NAME.to_owned(), most.to_string());
        }
        Some(_) | None => {
            kafka.set.insert(NAME.to_owned(), most.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use rustmq_controller_core::Configs;

    use super::{WorkedOut, static_configs};
    use crate::config::{Config, Environment, Inputs, Readable};

    #[test]
    fn what_is_set_is_told_apart_from_what_is_not() {
        let check = |environment: &[(&str, &str)], set: &[(&str, &str)], own: &[(&str, &str)]| {
            let inputs = Inputs { environment: Environment::of(environment), ..Inputs::default() };
            let sources = inputs.gather(Readable::Anything).expect("the settings exist, and their values are legal");
            let config = Config::resolve(&sources);
            let process = WorkedOut { shards: 2, connection_threads: 1, connections_max: 900 };
            let kafka = static_configs(&config, process);
            let of = |pairs: &[(&str, &str)]| -> Configs {
                pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
            };
            assert_eq!((kafka.set, kafka.own), (of(set), of(own)));
        };
        check(
            &[],
            &[],
            &[
                ("listeners", "PLAINTEXT://0.0.0.0:9092"),
                ("log.dir", "./rustmq-data"),
                ("log.dirs", "./rustmq-data"),
                ("max.connections", "900"),
                ("num.io.threads", "2"),
                ("num.network.threads", "1"),
            ],
        );
        check(
            &[
                ("RUSTMQ_NETWORK_KAFKA_LISTEN", "[::]:19092"),
                ("RUSTMQ_NETWORK_KAFKA_ADVERTISED", "broker-1.example.com:9092"),
                ("RUSTMQ_BROKER_RACK_ID", "r1"),
                ("RUSTMQ_DATA_DIR", "/data"),
                ("RUSTMQ_ENGINE_SHARDS", "2"),
                ("RUSTMQ_NUM_PARTITIONS", " 3 "),
                ("RUSTMQ_MAX_CONNECTIONS", "1000"),
            ],
            &[
                ("advertised.listeners", "PLAINTEXT://broker-1.example.com:9092"),
                ("broker.rack", "r1"),
                ("listeners", "PLAINTEXT://[::]:19092"),
                ("log.dir", "/data"),
                ("log.dirs", "/data"),
                ("max.connections", "900"),
                ("num.io.threads", "2"),
                ("num.partitions", "3"),
            ],
            &[("num.network.threads", "1")],
        );
    }
}
