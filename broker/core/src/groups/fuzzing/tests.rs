use proptest::prelude::*;

use super::fuzz_group_machine;

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn any_course_of_events_keeps_the_promises(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzz_group_machine(&data);
    }

    /// Joins, syncs and stored appends are frequent, so that generations form.
    #[test]
    fn a_busy_group_keeps_the_promises(data in proptest::collection::vec((0_usize..60, any::<u8>()), 0..300)) {
        const OPERATIONS: [u8; 60] = [
            0, 2, 3, 4, 5, 4, 5, 9, 10, 10, 10, 9, 6, 7, 8, 11, 11, 12, 13, 2, //
            0, 2, 3, 4, 5, 4, 5, 9, 10, 10, 17, 9, 6, 7, 8, 11, 11, 12, 13, 18, //
            0, 2, 3, 4, 5, 4, 5, 9, 10, 17, 17, 9, 6, 7, 8, 11, 11, 12, 13, 19,
        ];
        let bytes: Vec<u8> = data.into_iter().flat_map(|(index, argument)| [OPERATIONS[index], argument]).collect();
        fuzz_group_machine(&bytes);
    }

    /// Commits and removals while the log is shortened again and again, by one leader after
    /// another.
    #[test]
    fn a_shortened_log_keeps_the_promises(data in proptest::collection::vec((0_usize..64, any::<u8>()), 0..300)) {
        const OPERATIONS: [u8; 64] = [
            2, 4, 10, 10, 10, 17, 11, 11, 11, 12, 13, 14, 14, 15, 16, 16, //
            2, 4, 10, 10, 10, 17, 11, 11, 11, 12, 13, 14, 14, 15, 16, 16, //
            2, 4, 10, 10, 10, 17, 11, 11, 11, 12, 13, 14, 14, 15, 16, 18, //
            2, 4, 10, 10, 10, 17, 11, 11, 11, 12, 13, 14, 14, 15, 16, 19,
        ];
        let bytes: Vec<u8> = data.into_iter().flat_map(|(index, argument)| [OPERATIONS[index], argument]).collect();
        fuzz_group_machine(&bytes);
    }

    /// Members of consumer groups, whose targets come late or never.
    #[test]
    fn consumers_keep_the_promises(data in proptest::collection::vec((0_usize..32, any::<u8>()), 0..400)) {
        const OPERATIONS: [u8; 32] = [
            24, 24, 25, 25, 25, 26, 26, 27, 27, 27, 27, 28, 29, 30, 30, 30, //
            30, 31, 10, 10, 10, 10, 10, 10, 9, 8, 14, 15, 18, 19, 2, 11,
        ];
        let bytes: Vec<u8> = data.into_iter().flat_map(|(index, argument)| [OPERATIONS[index], argument]).collect();
        fuzz_group_machine(&bytes);
    }

    /// Classic members among those of the consumer protocol.
    #[test]
    fn mixed_groups_keep_the_promises(data in proptest::collection::vec((0_usize..32, any::<u8>()), 0..400)) {
        const OPERATIONS: [u8; 32] = [
            24, 24, 25, 25, 25, 26, 27, 27, 27, 28, 29, 30, 30, 30, 30, 31, //
            10, 10, 10, 10, 10, 9, 8, 14, 18, 0, 2, 2, 4, 4, 6, 7,
        ];
        let bytes: Vec<u8> = data.into_iter().flat_map(|(index, argument)| [OPERATIONS[index], argument]).collect();
        fuzz_group_machine(&bytes);
    }

    /// Transactions, also while the log is shortened and leaders change.
    #[test]
    fn transactions_keep_the_promises(data in proptest::collection::vec((0_usize..32, any::<u8>()), 0..300)) {
        const OPERATIONS: [u8; 32] = [
            10, 10, 10, 10, 17, 11, 11, 12, 14, 14, 15, 16, 20, 20, 22, 22, //
            10, 10, 10, 10, 17, 11, 11, 11, 14, 14, 15, 16, 20, 20, 22, 18,
        ];
        let bytes: Vec<u8> = data.into_iter().flat_map(|(index, argument)| [OPERATIONS[index], argument]).collect();
        fuzz_group_machine(&bytes);
    }
}
