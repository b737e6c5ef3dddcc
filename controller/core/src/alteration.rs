//! Changes configs: the full replacement of AlterConfigs, and the edits of IncrementalAlterConfigs
//! (KIP-339). Each resource has one delta. [`crate::configs`] decides whether a value is legal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::configs::{self, ConfigError};
use crate::{
    BrokerConfigScope, ClusterState, ConfigAlteration, ConfigChange, ConfigResource, Configs, Delta, EditOperation,
    GroupConfigLimits, Rejection, Topic,
};

impl ClusterState {
    pub(crate) fn alter_configs(
        &mut self,
        alterations: Vec<ConfigAlteration>,
        limits: &GroupConfigLimits,
        deltas: &mut Vec<Delta>,
    ) -> Vec<Result<(), Rejection>> {
        let mut counts: BTreeMap<ConfigResource, u32> = BTreeMap::new();
        for alteration in &alterations {
            *counts.entry(alteration.resource.clone()).or_default() += 1;
        }
        let judged = alterations.into_iter().map(|alteration| {
            // The delta of a topic contains the whole topic, so one short command must not make
            // many deltas of one topic.
            if counts[&alteration.resource] > 1 {
                return Err(Rejection::DuplicateItem { name: resource_name(&alteration.resource) });
            }
            self.alter(alteration, limits, deltas)
        });
        judged.collect()
    }

    fn alter(
        &mut self,
        alteration: ConfigAlteration,
        limits: &GroupConfigLimits,
        deltas: &mut Vec<Delta>,
    ) -> Result<(), Rejection> {
        let current = self.configs_of(&alteration.resource)?;
        let next = changed(current, &alteration, &limits.broker_values)?;
        if next == *current {
            return Ok(());
        }
        let is_first = current.is_empty();
        let delta = match alteration.resource {
            ConfigResource::Topic(name) => {
                let topic = self.topic(name.as_str()).expect("its configs were found above");
                Delta::TopicConfigChanged(Arc::new(Topic { configs: next, ..Topic::clone(topic) }))
            }
            ConfigResource::BrokerDefault => {
                Delta::BrokerConfigChanged { scope: BrokerConfigScope::Default, configs: next }
            }
            ConfigResource::Broker(id) => {
                Delta::BrokerConfigChanged { scope: BrokerConfigScope::Broker(id), configs: next }
            }
            ConfigResource::Group(group) => {
                let max = limits.groups_max;
                if is_first && self.configured_groups().len() >= max as usize {
                    return Err(Rejection::TooManyConfiguredGroups { max });
                }
                Delta::GroupConfigChanged { group, configs: next }
            }
        };
        self.commit(delta, deltas);
        Ok(())
    }

    fn configs_of(&self, resource: &ConfigResource) -> Result<&Configs, Rejection> {
        static NONE: Configs = Configs::new();
        match resource {
            ConfigResource::Topic(name) => {
                let unknown = || Rejection::UnknownTopic { name: name.as_str().to_owned() };
                self.topic(name.as_str()).map(|topic| &topic.configs).ok_or_else(unknown)
            }
            ConfigResource::BrokerDefault => Ok(&self.broker_defaults),
            ConfigResource::Broker(broker) if !self.brokers.contains_key(broker) => {
                Err(Rejection::UnknownBroker { broker: *broker })
            }
            ConfigResource::Broker(broker) => Ok(self.broker_configs.get(broker).unwrap_or(&NONE)),
            ConfigResource::Group(group) => Ok(self.group_configs(group)),
        }
    }
}

fn resource_name(resource: &ConfigResource) -> String {
    match resource {
        ConfigResource::Topic(name) => name.as_str().to_owned(),
        ConfigResource::BrokerDefault => "every broker".to_owned(),
        ConfigResource::Broker(id) => format!("broker {}", id.0),
        ConfigResource::Group(group) => group.clone(),
    }
}

/// The resource's configs after the change. Only the values that the change sets are checked: a
/// value that was legal before stays.
fn changed(current: &Configs, alteration: &ConfigAlteration, broker_values: &Configs) -> Result<Configs, Rejection> {
    let resource = &alteration.resource;
    let next = match &alteration.change {
        ConfigChange::Replace(configs) => {
            let mut next = Configs::new();
            for (name, value) in configs {
                let Some(value) = value else { continue };
                // A value that does not change is legal, even if only the configuration file may
                // set it.
                let kept = if current.get(name) == Some(value) { value.clone() } else { parse(resource, name, value)? };
                next.insert(name.clone(), kept);
            }
            next
        }
        ConfigChange::Edit(edits) => {
            let mut next = current.clone();
            let counts = crate::creation::count_names(edits.iter().map(|edit| edit.name.as_str()));
            for edit in edits {
                crate::creation::refuse_repeated(&counts, &edit.name)?;
                apply_edit(&mut next, resource, &edit.name, &edit.operation)?;
            }
            next
        }
    };
    match resource {
        ConfigResource::Topic(_) => {
            configs::check_topic_configs_together(&next).map_err(ConfigError::into_rejection)?;
        }
        ConfigResource::BrokerDefault | ConfigResource::Broker(_) => {
            configs::check_broker_configs_together(&next).map_err(ConfigError::into_broker_rejection)?;
        }
        ConfigResource::Group(_) => {
            configs::check_group_configs_together(&next, broker_values).map_err(ConfigError::into_rejection)?;
        }
    }
    Ok(next)
}

fn apply_edit(
    configs: &mut Configs,
    resource: &ConfigResource,
    name: &str,
    operation: &EditOperation,
) -> Result<(), Rejection> {
    let value = match operation {
        EditOperation::Set(value) => value.clone(),
        // Legal for an unknown name, too: the config is not set afterwards.
        EditOperation::Delete => {
            configs.remove(name);
            return Ok(());
        }
        EditOperation::Append(items) => appended(current_list(configs, resource, name)?, items),
        EditOperation::Subtract(items) => subtracted(current_list(configs, resource, name)?, items),
    };
    configs.insert(name.to_owned(), parse(resource, name, &value)?);
    Ok(())
}

/// The items of a list config: its value, or its default if it is not set.
fn current_list<'a>(configs: &'a Configs, resource: &ConfigResource, name: &str) -> Result<Vec<&'a str>, Rejection> {
    let default = configs::list_default(resource, name).map_err(ConfigError::into_rejection)?;
    let value = configs.get(name).map_or(default, String::as_str);
    Ok(split(value).collect())
}

/// The list with the missing items. Stops once the value is too long: the check of the length
/// refuses it then, and the rest of a large request costs nothing.
fn appended<'a>(mut list: Vec<&'a str>, items: &'a str) -> String {
    let mut present: BTreeSet<&str> = list.iter().copied().collect();
    let mut bytes: usize = list.iter().map(|item| item.len() + 1).sum();
    // An empty item stays: the check of the list refuses it.
    for item in items.split(',').map(str::trim) {
        if present.insert(item) {
            list.push(item);
            bytes += item.len() + 1;
        }
        // The last item has no comma after it.
        if bytes > configs::VALUE_BYTES_MAX + 1 {
            break;
        }
    }
    list.join(",")
}

/// The list without these items.
fn subtracted(mut list: Vec<&str>, items: &str) -> String {
    let mut left: BTreeSet<&str> = list.iter().copied().collect();
    for item in split(items) {
        left.remove(item);
    }
    list.retain(|item| left.contains(item));
    list.join(",")
}

fn split(items: &str) -> impl Iterator<Item = &str> {
    items.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// The value in the form in which it is kept.
fn parse(resource: &ConfigResource, name: &str, value: &str) -> Result<String, Rejection> {
    let for_brokers =
        |scope| configs::parse_broker_config(name, value, scope).map_err(ConfigError::into_broker_rejection);
    match resource {
        ConfigResource::Topic(_) => configs::parse_topic_config(name, value).map_err(ConfigError::into_rejection),
        ConfigResource::BrokerDefault => for_brokers(configs::Scope::EveryBroker),
        ConfigResource::Broker(_) => for_brokers(configs::Scope::OneBroker),
        ConfigResource::Group(_) => configs::parse_group_config(name, value).map_err(ConfigError::into_rejection),
    }
}
