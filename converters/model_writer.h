#pragma once
// The files of a conversion while they are written, and what makes a killed one go on: a journal behind the
// end of each unfinished file.
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "converters/plan.h"
#include "converters/stream.h"
#include "format/output_file.h"

namespace ingot::converters {

/// Every file of a plan, unfinished until commit(). write() may be called from several threads at once, the
/// rest may not.
///
/// A journal says what conversion the bytes belong to (a fingerprint of the header, the sources' sizes and
/// times, the version) and has the checksum of each tensor that was written whole. It needs no sync: whoever
/// takes over believes nothing and reads every tensor again; one whose bytes did not reach the disk has
/// another checksum than the journal says, and is written again.
class ModelWriter : public StreamSink {
  public:
    ModelWriter(const ConversionPlan& plan, const std::string& output, bool overwrite);
    ~ModelWriter() override;

    /// Checks the tensors that an earlier process of the same conversion wrote and returns how many of them
    /// are whole. They are done.
    size_t take_over(int n_threads, const std::atomic<bool>* cancel);
    bool is_done(size_t tensor) const { return !checksums_[tensor].empty(); }
    size_t n_done() const;

    void write(size_t tensor, uint64_t offset, std::span<const std::byte> bytes) override;
    void finish(size_t tensor, const std::string& checksum) override;
    /// Writes the headers, with the checksums of all tensors, and lets the files appear. Of several, the
    /// first appears last: a reader that finds it finds all.
    void commit();
    /// Leaves the unfinished files for another process to go on with.
    void keep();

    /// Of the first file.
    const std::string& unfinished_path() const;

  private:
    struct File;
    const ConversionPlan& plan_;
    std::vector<std::unique_ptr<File>> files_;
    std::vector<std::string> checksums_;  // by tensor; empty: not done
};

}  // namespace ingot::converters
