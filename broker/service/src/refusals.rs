//! Requests of many items. Some items are refused here and the rest are sent on; the results are
//! put back into the order of the request.

/// For each item of a request, why it was refused here; `None` for an item that was sent on.
#[derive(Debug)]
pub struct Refusals<E>(Vec<Option<E>>);

impl<E: Clone> Refusals<E> {
    /// Separates the items to send on, in their order, from the refusals.
    pub fn split<T>(judged: impl IntoIterator<Item = Result<T, E>>) -> (Vec<T>, Self) {
        let mut accepted = Vec::new();
        let mut accept = |item: Result<T, E>| item.map(|item| accepted.push(item)).err();
        let refusals = judged.into_iter().map(&mut accept).collect();
        (accepted, Self(refusals))
    }

    /// A result for each item of the request. `outcome` has one for each item that was sent on, in
    /// their order; where all of them failed together, each gets that error.
    ///
    /// # Panics
    /// If the outcome has another number of results than items were sent on.
    #[must_use]
    pub fn join<T>(self, outcome: Result<impl IntoIterator<Item = Result<T, E>>, E>) -> Vec<Result<T, E>> {
        let mut outcome = outcome.map(IntoIterator::into_iter);
        let each = self.0.into_iter().map(|refusal| match (refusal, &mut outcome) {
            (Some(refusal), _) => Err(refusal),
            (None, Err(failure)) => Err(failure.clone()),
            (None, Ok(results)) => results.next().expect("each item that was sent on has a result"),
        });
        let each = each.collect();
        if let Ok(results) = &mut outcome {
            assert!(results.next().is_none(), "only an item that was sent on has a result");
        }
        each
    }
}

#[cfg(test)]
mod tests {
    use super::Refusals;

    #[derive(Clone, Debug, PartialEq)]
    enum Error {
        Here,
        There,
        Everywhere,
    }

    fn judge(item: i32) -> Result<i32, Error> {
        if item < 0 { Err(Error::Here) } else { Ok(item) }
    }

    #[test]
    fn results_come_in_the_order_of_the_request() {
        let (accepted, refusals) = Refusals::split([-1, 2, -3, 4, 5].map(judge));
        assert_eq!(accepted, [2, 4, 5]);
        let results = refusals.join(Ok([Ok(20), Err(Error::There), Ok(50)]));
        assert_eq!(results, [Err(Error::Here), Ok(20), Err(Error::Here), Err(Error::There), Ok(50)]);
    }

    #[test]
    fn a_failure_of_all_that_was_sent_on_leaves_the_refusals() {
        let (_, refusals) = Refusals::split([1, -2, 3].map(judge));
        let results = refusals.join(Err::<[Result<i32, Error>; 0], _>(Error::Everywhere));
        assert_eq!(results, [Err(Error::Everywhere), Err(Error::Here), Err(Error::Everywhere)]);
    }

    #[test]
    #[should_panic(expected = "only an item that was sent on has a result")]
    fn a_result_too_many_is_not_dropped() {
        let (_, refusals) = Refusals::split([1, -2].map(judge));
        let _ = refusals.join(Ok([Ok(10), Ok(20)]));
    }
}
